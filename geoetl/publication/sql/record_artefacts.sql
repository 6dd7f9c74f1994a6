-- Compare-and-set of the publication token, for all artefacts at once. Rows of a greater token are left alone and are
-- missing from the answer: the caller must then roll back. The same token again is accepted and changes nothing.
INSERT INTO geoetl.artefact AS ledger (
    collection, item_id, artefact_uri, etag, size_bytes, sha256, run_id, job_id, token_run, token_attempt, item
)
SELECT
    %(collection)s, artefact.item_id, artefact.artefact_uri, artefact.etag, artefact.size_bytes, artefact.sha256,
    %(run_id)s, %(job_id)s, %(token_run)s, %(token_attempt)s, artefact.item
FROM ROWS FROM (
    unnest(
        %(item_ids)s::text [], %(artefact_uris)s::text [], %(etags)s::text [], %(sizes_bytes)s::bigint [],
        %(sha256s)s::text []
    ),
    -- One document, in the same order: far cheaper to send than an array of them.
    jsonb_array_elements(%(items)s)
) AS artefact (item_id, artefact_uri, etag, size_bytes, sha256, item)
ON CONFLICT (collection, item_id) DO UPDATE SET
    artefact_uri = excluded.artefact_uri,
    etag = excluded.etag,
    size_bytes = excluded.size_bytes,
    sha256 = excluded.sha256,
    run_id = excluded.run_id,
    job_id = excluded.job_id,
    token_run = excluded.token_run,
    token_attempt = excluded.token_attempt,
    item = excluded.item,
    state = 'published',
    published_at = CASE
        WHEN (ledger.artefact_uri, ledger.etag, ledger.state) = (excluded.artefact_uri, excluded.etag, 'published')
            THEN ledger.published_at
        ELSE now()
    END
WHERE (ledger.token_run, ledger.token_attempt) <= (excluded.token_run, excluded.token_attempt)
RETURNING ledger.item_id
