-- The published artefacts whose token is greater than the caller's: why a publication was refused.
SELECT
    collection, item_id, artefact_uri, etag, size_bytes, sha256, run_id, job_id, token_run, token_attempt, state,
    published_at
FROM geoetl.artefact
WHERE collection = %(collection)s
    AND item_id = ANY(%(item_ids)s)
    AND (token_run, token_attempt) > (%(token_run)s, %(token_attempt)s)
ORDER BY item_id
