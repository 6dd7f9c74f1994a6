-- tasks --
SELECT t.queue, t.state, count(*) FROM geoetl.task t JOIN geoetl.run r ON r.id = t.run_id
WHERE r.state IN ('queued', 'running') GROUP BY t.queue, t.state

-- jobs --
SELECT j.job_type, r.state, count(*) FROM geoetl.job j JOIN geoetl.run r ON r.id = j.current_run GROUP BY j.job_type, r.state

-- queue_age --
-- Seconds that the oldest task that is due has been waiting, by queue.
SELECT t.queue, extract(epoch FROM now() - min(t.next_attempt_at))::float8
FROM geoetl.task t JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
WHERE t.state = 'ready' AND t.next_attempt_at <= now()
  AND s.state = CASE WHEN t.idx = -1 THEN 'completing' ELSE 'running' END
GROUP BY t.queue

-- outbox --
-- Messages that are due, how long the oldest has been, messages whose queue refuses them, and those that never can be sent.
SELECT count(*) FILTER (WHERE parked_at IS NULL AND not_before <= now()),
       coalesce(extract(epoch FROM now() - min(not_before) FILTER (WHERE parked_at IS NULL AND not_before <= now())), 0)::float8,
       count(*) FILTER (WHERE parked_at IS NULL AND problem IS NOT NULL),
       count(*) FILTER (WHERE parked_at IS NOT NULL)
FROM geoetl.outbox

-- lock_horizon --
-- The last event that has been counted for good.
SELECT event_id FROM geoetl.event_horizon FOR UPDATE

-- move_horizon --
-- Count for good what is older than five minutes: no transaction of ours takes so long to commit an event.
WITH bound AS (
    SELECT max(id) AS event_id FROM geoetl.event WHERE id > %(horizon)s AND at < now() - interval '5 minutes'
), counted AS (
    INSERT INTO geoetl.event_counted AS t (what, events)
    SELECT e.what, count(*) FROM geoetl.event e, bound WHERE e.id > %(horizon)s AND e.id <= bound.event_id
    GROUP BY e.what ORDER BY e.what
    ON CONFLICT (what) DO UPDATE SET events = t.events + excluded.events
)
UPDATE geoetl.event_horizon h SET event_id = bound.event_id FROM bound WHERE bound.event_id IS NOT NULL

-- events --
SELECT what, sum(events)::bigint FROM (
    SELECT what, count(*) AS events FROM geoetl.event WHERE id > (SELECT event_id FROM geoetl.event_horizon) GROUP BY what
    UNION ALL
    SELECT what, events FROM geoetl.event_counted
) AS counted GROUP BY what

-- stage_seconds --
-- How long stages took that were completed lately: median and 99th percentile.
SELECT j.job_type, s.name,
       percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM s.finished_at - s.created_at)::float8)
FROM geoetl.stage s JOIN geoetl.run r ON r.id = s.run_id JOIN geoetl.job j ON j.id = r.job_id
WHERE s.state = 'completed' AND s.finished_at > now() - interval '1 hour'
GROUP BY j.job_type, s.name
