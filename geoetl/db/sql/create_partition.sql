-- Left to itself, pgSTAC makes a collection's partition during the first load, and widens its CHECK constraint whenever
-- a load brings an earlier or later item: both lock every search of the catalogue out until that load commits. Made
-- here, for all times, it is never touched again. Searches find partitions by pgSTAC's statistics, not by the constraint.
SELECT pgstac.check_partition(
    %s,
    tstzrange('-infinity', 'infinity', '[]'),
    tstzrange('-infinity', 'infinity', '[]')
);
