-- Folders of what is published, and of what was replaced since a moment.
SELECT regexp_replace(artefact_uri, '/[^/]*$', '') FROM geoetl.artefact WHERE state = 'published'
UNION
SELECT regexp_replace(artefact_uri, '/[^/]*$', '') FROM geoetl.artefact_history WHERE superseded_at >= %(since)s
