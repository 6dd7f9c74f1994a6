-- Items and collections beside the ledger, as they were published: the catalogue can be made anew from these.
ALTER TABLE geoetl.artefact ADD COLUMN item jsonb;
COMMENT ON COLUMN geoetl.artefact.item IS 'The STAC item whole; null where it was published before this column was.';

CREATE TABLE geoetl.collection (
    id         text PRIMARY KEY,
    content    jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What was published before has its item and its collection in the catalogue.
DO $$
BEGIN
    IF to_regnamespace('pgstac') IS NOT NULL THEN
        PERFORM set_config('search_path', 'pgstac, public', true);
        INSERT INTO geoetl.collection (id, content) SELECT id, content FROM pgstac.collections;
        UPDATE geoetl.artefact SET item = pgstac.get_item(item_id, collection);
        PERFORM set_config('search_path', 'public', true);
    END IF;
END
$$;
