-- Whether a run published something, and all of it is still in place.
SELECT
    EXISTS (SELECT FROM geoetl.artefact WHERE run_id = %(run_id)s AND state = 'published')
    AND NOT EXISTS (SELECT FROM geoetl.artefact WHERE run_id = %(run_id)s AND state <> 'published')
    AND NOT EXISTS (
        SELECT FROM geoetl.artefact_history AS past
        WHERE past.run_id = %(run_id)s
            AND NOT EXISTS (
                SELECT FROM geoetl.artefact AS present
                WHERE present.collection = past.collection
                    AND present.item_id = past.item_id
                    AND present.run_id = past.run_id
            )
    )
