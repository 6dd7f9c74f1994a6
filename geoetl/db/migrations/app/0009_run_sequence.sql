-- The number of a run is the first half of its publication token, and the ledger of artefacts in the business database
-- outlives this database: in one that was rebuilt, every run must outrank all that ever published. So numbers begin at
-- the milliseconds of the day they are made on; no installation starts a thousand runs a second for years.
SELECT setval(
    pg_get_serial_sequence('geoetl.run', 'sequence'),
    greatest((SELECT max(sequence) FROM geoetl.run), (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
);
