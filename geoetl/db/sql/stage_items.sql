-- Rows on their way into a partition; gone with the transaction.
CREATE TEMPORARY TABLE IF NOT EXISTS geoetl_staged (
    id text, datetime timestamptz, end_datetime timestamptz, geometry public.geometry, content jsonb
) ON COMMIT DROP;
TRUNCATE geoetl_staged;
