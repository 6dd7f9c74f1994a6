-- open --
-- True: the chord had fired, and somebody has applied the same frozen canvas again.
INSERT INTO geoetl.chord AS c (group_id) VALUES (%(group_id)s)
ON CONFLICT (group_id) DO UPDATE SET size = NULL, remaining = 0, fired_at = NULL, made_at = now()
WHERE c.fired_at IS NOT NULL
RETURNING xmax <> 0

-- run_again --
-- Forget what a fired chord has done. Its body has the same id again, and may now fail without having been sent.
WITH parts AS (
    DELETE FROM geoetl.chord_part WHERE group_id = %(group_id)s
)
UPDATE geoetl.result SET phase = 'open' WHERE task_id = %(body_id)s AND phase = 'ended'

-- set_size --
-- Celery may say it more than once; the last word counts.
INSERT INTO geoetl.chord AS c (group_id, size, remaining) VALUES (%(group_id)s, %(size)s, %(size)s)
ON CONFLICT (group_id) DO UPDATE
SET size = excluded.size, remaining = c.remaining + excluded.size - coalesce(c.size, 0)

-- add --
-- One more header task, while the chord is open. No row: it has fired.
UPDATE geoetl.chord SET size = size + 1, remaining = remaining + 1
WHERE group_id = %(group_id)s AND fired_at IS NULL
RETURNING group_id

-- count_part --
-- Record what a header task returned, once, and lower the barrier. True: this was the last one, its caller fires.
WITH part AS (
    INSERT INTO geoetl.chord_part (group_id, task_id, idx, state, result)
    VALUES (%(group_id)s, %(task_id)s, %(idx)s, %(state)s, %(result)s)
    ON CONFLICT DO NOTHING
    RETURNING group_id
)
UPDATE geoetl.chord
SET remaining = remaining - 1, fired_at = CASE WHEN size IS NOT NULL AND remaining = 1 THEN clock_timestamp() END
WHERE group_id = (SELECT group_id FROM part) AND fired_at IS NULL
RETURNING fired_at IS NOT NULL

-- parts --
SELECT task_id, state, result FROM geoetl.chord_part
WHERE group_id = %(group_id)s
ORDER BY idx = -1, idx, task_id
