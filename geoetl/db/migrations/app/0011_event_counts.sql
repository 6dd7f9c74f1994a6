-- Counters of events must never fall, and a scrape must not count a history of months each time: what is old has been
-- counted, whether it was pruned since or not. The horizon is the last event that was.
ALTER TABLE geoetl.event_pruned RENAME TO event_counted;
CREATE TABLE geoetl.event_horizon (
    event_id bigint NOT NULL
);
INSERT INTO geoetl.event_horizon (event_id) VALUES (0);
