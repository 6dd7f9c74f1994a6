-- add_message --
INSERT INTO geoetl.outbox (envelope, body, not_before)
VALUES (%(envelope)s, %(body)s, coalesce(%(not_before)s::timestamptz, now()))

-- notify --
SELECT pg_notify('geoetl_outbox', '')

-- take_due --
-- Rows that are due, oldest first; rows another relay holds are left to it. They are deleted by their keys and not by a
-- join: of a queue that was empty when it was analyzed PostgreSQL believes that it is, and reads all of it for each row.
WITH due AS MATERIALIZED (
    SELECT id FROM geoetl.outbox
    WHERE parked_at IS NULL AND not_before <= now()
    ORDER BY not_before, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM geoetl.outbox WHERE id = ANY (ARRAY(SELECT id FROM due))
RETURNING id, source, ref, envelope, body, dedupe

-- next_due --
-- Seconds until the next row is due; none where the outbox is empty.
SELECT extract(epoch FROM min(not_before) - now())::float8 FROM geoetl.outbox WHERE parked_at IS NULL

-- park --
-- Put back a row that could not be published, out of the way.
INSERT INTO geoetl.outbox (source, ref, envelope, body, parked_at, problem)
VALUES (%(source)s, %(ref)s, %(envelope)s, %(body)s, now(), %(problem)s)

-- put_back --
-- A row whose queue refuses now: tried again later, by whoever relays then.
INSERT INTO geoetl.outbox (source, ref, envelope, body, dedupe, not_before, problem)
VALUES (%(source)s, %(ref)s, %(envelope)s, %(body)s, %(dedupe)s, now() + make_interval(secs => %(delay_s)s), %(problem)s)

-- try_lead --
-- One relay leads at a time; the lock ends with the session, so a dead leader is replaced at once.
SELECT pg_try_advisory_lock(hashtextextended('geoetl.relay', 0))

-- is_led --
-- Asked by stand-bys over a connection that they share: an advisory lock taken on that would be theirs for ever.
SELECT EXISTS (
    SELECT FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('geoetl.relay', 0))

-- depose --
-- End the session of a leader that has said nothing for long: its process is frozen, or its network is gone. In the
-- middle of publishing it may wait for the broker, so there it is given longer.
SELECT pg_terminate_backend(a.pid)
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('geoetl.relay', 0)
  AND a.state_change < clock_timestamp() - make_interval(secs => CASE a.state WHEN 'idle' THEN %(silent_s)s ELSE %(busy_s)s END)
