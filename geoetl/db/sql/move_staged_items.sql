-- As pypgstac's loader does it, into the one partition of a collection. {partition}: its name.
INSERT INTO {partition} AS stored (id, collection, datetime, end_datetime, geometry, content)
SELECT id, {collection}, datetime, end_datetime, geometry, content
FROM geoetl_staged
ON CONFLICT (id) DO UPDATE SET
    datetime = excluded.datetime,
    end_datetime = excluded.end_datetime,
    geometry = excluded.geometry,
    content = excluded.content
WHERE stored IS DISTINCT FROM excluded
