-- claim --
-- Own this version of a task: it is new, or given back, or its owner's lease has run out. No row: nothing to claim.
INSERT INTO geoetl.result AS r (task_id, state, meta, phase, version, attempt, owner, lease_until)
VALUES (%(task_id)s, 'STARTED', %(meta)s, 'running', %(version)s, 1, %(owner)s,
        now() + make_interval(secs => %(lease_s)s))
ON CONFLICT (task_id) DO UPDATE
SET state = excluded.state, meta = excluded.meta, phase = 'running', version = excluded.version,
    attempt = r.attempt + 1, owner = excluded.owner, lease_until = excluded.lease_until
WHERE r.phase <> 'ended'
  AND (r.version < excluded.version
       OR (r.version = excluded.version
           AND (r.phase = 'open' OR (r.phase = 'running' AND r.lease_until < now()))))
RETURNING attempt

-- lease_end --
-- When the live lease that refused a claim ends; no row where the task can never be claimed in this version.
SELECT lease_until + interval '50 milliseconds' FROM geoetl.result
WHERE task_id = %(task_id)s AND version = %(version)s AND phase = 'running'

-- put_aside --
-- Look again when the lease ends: its owner may be dead. One copy per task and version.
INSERT INTO geoetl.outbox (envelope, body, not_before, dedupe)
VALUES (%(envelope)s, %(body)s, %(not_before)s, %(task_id)s::text || ':' || %(version)s::int)
ON CONFLICT (dedupe) WHERE dedupe IS NOT NULL DO NOTHING

-- end --
-- The owner gives its claim up, and the copy that waited for it is not needed. No row: the claim was lost.
WITH ended AS (
    UPDATE geoetl.result SET phase = %(phase)s, lease_until = NULL, done_at = now()
    WHERE task_id = %(task_id)s AND phase = 'running' AND version = %(version)s AND attempt = %(attempt)s
    RETURNING task_id
), unneeded AS (
    -- A relay that publishes the copy right now holds its lock: leave it, a duplicate is dropped.
    SELECT o.id FROM geoetl.outbox o
    WHERE o.dedupe = %(task_id)s::text || ':' || %(version)s::int AND EXISTS (SELECT FROM ended)
    FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM geoetl.outbox WHERE id IN (SELECT id FROM unneeded)
)
SELECT task_id FROM ended

-- end_unclaimed --
-- For those who end a task without a claim: the main process (its child died, or the task was revoked before it
-- began), a chord whose body will never run, a failed chain. Never over a live claim of somebody else.
INSERT INTO geoetl.result AS r (task_id, state, phase, version)
VALUES (%(task_id)s, 'PENDING', %(phase)s, %(version)s)
ON CONFLICT (task_id) DO UPDATE
SET phase = excluded.phase, version = excluded.version, lease_until = NULL, done_at = now()
WHERE r.phase <> 'ended'
  AND (r.version < excluded.version
       OR (r.version = excluded.version
           AND (r.phase = 'open' OR (r.phase = 'running' AND (r.owner = %(owner)s OR r.lease_until < now())))))
RETURNING task_id

-- release --
-- The message goes back to the broker: its next delivery may claim at once.
UPDATE geoetl.result SET phase = 'open', lease_until = NULL
WHERE task_id = %(task_id)s AND phase = 'running' AND owner = %(owner)s

-- renew --
-- Extend the leases of what live processes work on, all in one statement.
UPDATE geoetl.result r SET lease_until = now() + make_interval(secs => %(lease_s)s)
FROM unnest(%(task_ids)s::text[], %(owners)s::text[]) AS live (task_id, owner)
WHERE r.task_id = live.task_id AND r.owner = live.owner AND r.phase = 'running'
