-- What is published, and what was replaced since a moment.
SELECT artefact_uri FROM geoetl.artefact WHERE state = 'published'
UNION
SELECT artefact_uri FROM geoetl.artefact_history WHERE superseded_at >= %(since)s
