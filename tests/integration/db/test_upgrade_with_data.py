"""A database of an earlier version, with products in it, is brought up to date: everything is there."""

from typing import Any

from psycopg.types.json import Jsonb

from geoetl.db.connections import Connection, ConnectionSource, connect
from geoetl.db.items import pgstac_session
from geoetl.db.pgstac import bootstrap_pgstac
from geoetl.db.provision import Layout, provision
from geoetl.db.schema import load_migrations, migrate
from geoetl.publication.rebuild import rebuild
from tests.stack import TestDatabases

COLLECTION: dict[str, Any] = {
    "type": "Collection", "id": "old", "stac_version": "1.1.0", "title": "Old", "description": "d", "license": "other",
    "links": [], "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
}  # fmt: skip
ITEM: dict[str, Any] = {
    "type": "Feature", "stac_version": "1.1.0", "id": "a", "collection": "old", "bbox": [1, 2, 1, 2], "links": [],
    "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {"datetime": "2024-01-01T00:00:00Z"},
    "assets": {"data": {"href": "https://store.example/a.tif"}},
}  # fmt: skip


def add_product(connection: Connection) -> None:
    with connection.transaction(), pgstac_session(connection):
        connection.execute("SELECT pgstac.create_collection(%s)", [Jsonb(COLLECTION)])
        connection.execute("SELECT pgstac.create_item(%s)", [Jsonb(ITEM)])
    connection.execute(
        "INSERT INTO geoetl.artefact (collection, item_id, artefact_uri, etag, size_bytes, sha256, run_id, job_id,"
        " token_run, token_attempt) VALUES ('old', 'a', 'silver://silver/a.tif', 'e', 1, 's', 'r', 'j', 1, 1),"
        " ('old', 'gone', 'silver://silver/gone.tif', 'e', 1, 's', 'r', 'j', 1, 1)"
    )


def test_products_published_before_the_ledger_kept_items_can_be_rebuilt(databases: TestDatabases):
    layout = Layout(app_db="upgrade_app", business_db="upgrade_business")
    provision(databases.cluster.target(), layout)
    owner = databases.cluster.target(layout.business_db, layout.migrator)
    worker = ConnectionSource(databases.cluster.target(layout.business_db, layout.worker), application_name="tests")
    try:
        bootstrap_pgstac(owner, admin=databases.cluster.target(layout.business_db))
        shipped = load_migrations("business")
        with connect(owner, application_name="tests") as connection:
            migrate(connection, shipped[:1])
            add_product(worker())
            history = connection.execute("SELECT count(*) FROM geoetl.artefact_history").fetchone()
            assert migrate(connection, shipped) == shipped[1:]
            assert connection.execute("SELECT count(*) FROM geoetl.artefact_history").fetchone() == history
            rows = dict(connection.execute("SELECT item_id, item FROM geoetl.artefact").fetchall())
            assert rows["a"]["assets"] == ITEM["assets"]
            assert rows["gone"] is None
        (rebuilt,) = rebuild(worker, dry_run=True)
        assert (rebuilt.collection, rebuilt.items, rebuilt.missing, rebuilt.unknown) == ("old", 1, 0, 1)
    finally:
        worker.close()
        for name in (layout.app_db, layout.business_db):
            databases.drop(databases.cluster.target(name))
