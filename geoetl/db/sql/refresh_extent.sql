-- Not pgSTAC's collection_extent(id, true): it also rewrites the partition's constraint, which locks readers out.
UPDATE pgstac.collections AS c
SET content = c.content || jsonb_build_object(
    'extent', jsonb_build_object(
        'spatial', jsonb_build_object('bbox', jsonb_build_array(jsonb_build_array(
            st_xmin(e.box), st_ymin(e.box), st_xmax(e.box), st_ymax(e.box)
        ))),
        'temporal', jsonb_build_object('interval', jsonb_build_array(jsonb_build_array(
            e.first, e.last
        )))
    )
)
FROM (
    SELECT st_extent(geometry) AS box, min(datetime) AS first, max(end_datetime) AS last
    FROM pgstac.items
    WHERE collection = %s
) AS e
WHERE c.id = %s AND e.box IS NOT NULL;
