-- One writer per collection: concurrent loads of one pgSTAC partition fail or lose rows. Held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('geoetl.publication:' || %(collection)s, 0))
