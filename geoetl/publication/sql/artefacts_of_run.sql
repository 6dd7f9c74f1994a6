-- The artefacts of a run that are still the published ones of their items.
SELECT
    collection, item_id, artefact_uri, etag, size_bytes, sha256, run_id, job_id, token_run, token_attempt, state,
    published_at
FROM geoetl.artefact
WHERE run_id = %(run_id)s AND state = 'published'
ORDER BY collection, item_id
