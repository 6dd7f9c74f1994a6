"""The catalogue made anew from the ledger, which keeps every collection and item as it was published."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from geoetl.db.collections import add_collection, create_collection, has_collection
from geoetl.db.connections import Connection, database_errors
from geoetl.db.items import CollectionNotFound, StacObject, lock_collection, pgstac_session
from geoetl.db.loading import load_items
from geoetl.models.catalogue import CollectionDefinition
from geoetl.publication.ledger import ConnectionFactory, read_sql
from geoetl.publication.publish import LOCK_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class RebuiltCollection:
    """What was written for one collection, or would be."""

    collection: str
    is_created: bool
    """Whether the collection itself was missing."""
    items: int
    """Published items of the ledger; all are written."""
    missing: int
    """Those that the catalogue had not."""
    unknown: int
    """Published so long ago that the ledger has no item: they must be published again."""


def rebuild(
    connections: ConnectionFactory, *, collection: str | None = None, dry_run: bool = False
) -> list[RebuiltCollection]:
    """Write every published item of the ledger into the catalogue again, a transaction for each collection.

    What the ledger does not know is left alone. Searches go on, and publications wait meanwhile.

    Args:
        connections: Gives a connection to the business database.
        collection: Only this one; None: all.
        dry_run: Only say what would be written.

    Raises:
        CollectionNotFound: The ledger knows no such collection.
        DatabaseUnavailable: The database is away, or a publication holds a collection for too long.
    """
    with database_errors("make the catalogue anew from the ledger"):
        connection = connections()
        names = [
            row[0]
            for row in connection.execute(
                "SELECT id FROM geoetl.collection UNION SELECT collection FROM geoetl.artefact ORDER BY 1"
            ).fetchall()
        ]
        if collection is not None and collection not in names:
            raise CollectionNotFound.named(collection)
        return [_rebuild_one(connection, name, dry_run=dry_run) for name in names if collection in {None, name}]


def _rebuild_one(connection: Connection, name: str, *, dry_run: bool) -> RebuiltCollection:
    with connection.transaction(force_rollback=dry_run):
        lock_collection(connection, name, timeout_s=LOCK_TIMEOUT_S)
        # Read under the lock: a publication in between would be undone.
        rows = connection.execute(read_sql("published"), {"collection": name}).fetchall()
        items: list[StacObject] = [row[5] for row in rows if row[5] is not None]
        is_created = not has_collection(connection, name)
        missing = len(items) - _count(connection, name, [str(item["id"]) for item in items])
        if not dry_run:
            if is_created:
                _create(connection, name)
            if items:
                load_items(connection, name, items)
    return RebuiltCollection(name, is_created, len(items), missing, len(rows) - len(items))


def _create(connection: Connection, name: str) -> None:
    row: Any = connection.execute("SELECT content FROM geoetl.collection WHERE id = %s", [name]).fetchone()
    if row is None:
        create_collection(connection, CollectionDefinition(id=name, description=name))
        return
    with pgstac_session(connection):
        add_collection(connection, row[0])


def _count(connection: Connection, collection: str, ids: Sequence[str]) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pgstac.items WHERE collection = %s AND id = ANY(%s)", [collection, list(ids)]
    ).fetchone()
    return row[0] if row else 0
