-- Items that the ledger does not know, and published artefacts whose item is gone.
SELECT 'item-without-artefact', i.collection, i.id
FROM pgstac.items AS i
WHERE (%(collection)s::text IS NULL OR i.collection = %(collection)s)
    AND NOT EXISTS (
        SELECT FROM geoetl.artefact AS a
        WHERE a.collection = i.collection AND a.item_id = i.id AND a.state = 'published'
    )
UNION ALL
SELECT 'artefact-without-item', a.collection, a.item_id
FROM geoetl.artefact AS a
WHERE a.state = 'published'
    AND (%(collection)s::text IS NULL OR a.collection = %(collection)s)
    AND NOT EXISTS (SELECT FROM pgstac.items AS i WHERE i.collection = a.collection AND i.id = a.item_id)
ORDER BY 1, 2, 3
