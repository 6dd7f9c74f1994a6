-- What is published, of one collection or of all.
SELECT collection, item_id, artefact_uri, etag, run_id, item
FROM geoetl.artefact
WHERE state = 'published' AND (%(collection)s::text IS NULL OR collection = %(collection)s)
ORDER BY collection, item_id
