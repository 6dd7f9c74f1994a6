-- claim --
-- Own this version of a task: it is new, or given back, or its owner's lease has run out; or all of an earlier run has
-- ended and this message comes from another send. No row: nothing to claim.
INSERT INTO geoetl.result AS r (task_id, state, meta, phase, version, attempt, owner, lease_until, sends)
VALUES (%(task_id)s, 'STARTED', %(meta)s, 'running', %(version)s, 1, %(owner)s,
        now() + make_interval(secs => %(lease_s)s), ARRAY[%(send)s::text])
ON CONFLICT (task_id) DO UPDATE
SET state = excluded.state, meta = excluded.meta, phase = 'running', version = excluded.version,
    attempt = r.attempt + 1, owner = excluded.owner, lease_until = excluded.lease_until, has_copy = false,
    sends = CASE WHEN r.phase = 'ended' THEN excluded.sends
                 WHEN r.sends @> excluded.sends THEN r.sends ELSE r.sends || excluded.sends END
WHERE CASE r.phase
      WHEN 'ended' THEN NOT r.sends @> excluded.sends
      WHEN 'open' THEN r.version <= excluded.version
      WHEN 'waiting' THEN r.version < excluded.version
      ELSE r.version < excluded.version OR (r.version = excluded.version AND r.lease_until < now()) END
RETURNING attempt

-- is_running --
-- Whether a claim was refused by a live one of the same version, rather than for good.
SELECT EXISTS (
    SELECT FROM geoetl.result WHERE task_id = %(task_id)s AND version = %(version)s AND phase = 'running'
)

-- put_aside --
-- Look again when the lease ends: its owner may be dead. One copy per task and version; none where the owner has
-- ended the task meanwhile (the lock on its row decides who was first).
WITH live AS (
    UPDATE geoetl.result SET has_copy = true
    WHERE task_id = %(task_id)s AND version = %(version)s AND phase = 'running'
    RETURNING lease_until
)
INSERT INTO geoetl.outbox (envelope, body, not_before, dedupe)
SELECT %(envelope)s, %(body)s, lease_until + interval '50 milliseconds', %(task_id)s::text || ':' || %(version)s::int
FROM live
ON CONFLICT (dedupe) WHERE dedupe IS NOT NULL DO NOTHING

-- end --
-- The owner gives its claim up. No row: the claim was lost. True: a copy waits for nothing now.
UPDATE geoetl.result SET phase = %(phase)s, lease_until = NULL, done_at = now()
WHERE task_id = %(task_id)s AND phase = 'running' AND version = %(version)s AND attempt = %(attempt)s
RETURNING has_copy

-- remove_copy --
-- A relay that publishes the copy right now holds its lock: leave it, a duplicate is dropped.
DELETE FROM geoetl.outbox
WHERE id = (SELECT id FROM geoetl.outbox
            WHERE dedupe = %(task_id)s::text || ':' || %(version)s::int
            FOR UPDATE SKIP LOCKED)

-- end_unclaimed --
-- For those who end a task without a claim: the main process (its child died, or the task was revoked before it
-- began), a chord whose body will never run, a failed chain. Never over a live claim of somebody else.
INSERT INTO geoetl.result AS r (task_id, state, phase, version, sends)
VALUES (%(task_id)s, 'PENDING', %(phase)s, %(version)s, array_remove(ARRAY[%(send)s::text], NULL))
ON CONFLICT (task_id) DO UPDATE
SET phase = excluded.phase, version = excluded.version, lease_until = NULL, done_at = now(),
    sends = CASE WHEN r.phase = 'ended' THEN excluded.sends
                 WHEN r.sends @> excluded.sends THEN r.sends ELSE r.sends || excluded.sends END
WHERE CASE r.phase
      WHEN 'ended' THEN NOT r.sends @> excluded.sends
      WHEN 'open' THEN r.version <= excluded.version
      WHEN 'waiting' THEN r.version < excluded.version
      ELSE r.version < excluded.version
           OR (r.version = excluded.version AND (r.owner = %(owner)s OR r.lease_until < now())) END
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
