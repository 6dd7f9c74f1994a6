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
-- Messages that are due, how long the oldest has been, and messages that could not be published.
SELECT count(*) FILTER (WHERE parked_at IS NULL AND not_before <= now()),
       coalesce(extract(epoch FROM now() - min(not_before) FILTER (WHERE parked_at IS NULL AND not_before <= now())), 0)::float8,
       count(*) FILTER (WHERE parked_at IS NOT NULL)
FROM geoetl.outbox

-- events --
-- What happened, with what was pruned since.
SELECT what, sum(events)::bigint FROM (
    SELECT what, count(*) AS events FROM geoetl.event GROUP BY what
    UNION ALL
    SELECT what, events FROM geoetl.event_pruned
) AS counted GROUP BY what

-- stage_seconds --
-- How long stages took that were completed lately: median and 99th percentile.
SELECT j.job_type, s.name,
       percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM s.finished_at - s.created_at)::float8)
FROM geoetl.stage s JOIN geoetl.run r ON r.id = s.run_id JOIN geoetl.job j ON j.id = r.job_id
WHERE s.state = 'completed' AND s.finished_at > now() - interval '1 hour'
GROUP BY j.job_type, s.name
