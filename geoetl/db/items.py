"""Items of the catalogue, inside a transaction of the caller: they appear together with whatever else it writes."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg.types.json import Jsonb

from geoetl.db.connections import Connection
from geoetl.db.statements import read_statement
from geoetl.errors import InvalidInput, NotFound, SystemFault

#: A STAC item or collection as JSON.
type StacObject = dict[str, Any]

#: Any constant: keeps our advisory locks on collections apart from other uses of the same hash.
_LOCK_SPACE = 0x67656F


class CollectionNotFound(NotFound):
    """There is no such collection."""

    default_code = "collection-missing"

    @classmethod
    def named(cls, collection: str) -> "CollectionNotFound":
        """With the message that everybody uses."""
        return cls(
            f"There is no collection {collection!r}.",
            hint=f"Create it with `geoetl collection create {collection}`, or list what there is.",
        )


class CatalogueFault(SystemFault):
    """pgSTAC did not store what it was given."""

    default_code = "catalogue-fault"


@contextmanager
def pgstac_session(connection: Connection) -> Generator[None]:
    """Inside, names resolve as pgSTAC's functions expect, and times are written in UTC. Needs an open transaction."""
    # Most of pgSTAC's functions pin their search_path themselves, some do not.
    before = connection.execute("SELECT current_setting('search_path'), current_setting('TimeZone')").fetchone()
    if before is None:
        raise CatalogueFault("PostgreSQL answered a SELECT of its settings with no row.")
    _set_local(connection, search_path="pgstac, public", zone="UTC")
    yield
    # Not in a finally: after an error the transaction is rolled back, and these settings with it.
    _set_local(connection, search_path=before[0], zone=before[1])


def lock_collection(connection: Connection, collection: str, *, timeout_s: float) -> None:
    """Be the only writer of a collection until the transaction ends.

    pgSTAC loses rows or deadlocks where two writers load one partition; with this lock it does neither.

    Raises:
        psycopg.errors.LockNotAvailable: Another writer held it for ``timeout_s``; `database_errors` makes it transient.
    """
    connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(timeout_s * 1000)}ms"])
    connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK_SPACE, collection])


def upsert_items(connection: Connection, collection: str, items: Sequence[Mapping[str, Any]]) -> None:
    """Store items, replacing those of the same id, and bring the collection's extent up to date.

    Meant for up to some thousand items (about 500 a second). Hold `lock_collection`. Readers are not held up, as long
    as the collection was made by `Catalogue.create_collection`.

    Args:
        connection: Inside a transaction.
        collection: The collection of every item.
        items: STAC items, each with an id of its own.

    Raises:
        InvalidInput: Two items have one id, or an item names another collection.
        CollectionNotFound: There is no such collection.
        CatalogueFault: pgSTAC stored fewer items than it was given.
    """
    ids = checked_ids(collection, items)
    if not ids:
        return
    with pgstac_session(connection):
        _require_collection(connection, collection)
        connection.execute("SELECT pgstac.upsert_items(%s)", [Jsonb(list(items))])
        # pgSTAC's upsert ends in ON CONFLICT DO NOTHING, so only counting tells what was stored.
        row = connection.execute(
            "SELECT count(*) FROM pgstac.items WHERE collection = %s AND id = ANY(%s)", [collection, ids]
        ).fetchone()
        stored = row[0] if row else 0
        if stored != len(ids):
            raise CatalogueFault(f"pgSTAC stored {stored} of {len(ids)} items of collection {collection!r}.")
        connection.execute("SELECT pgstac.geoetl_harden_partitions()")
        refresh_extent(connection, collection)


def delete_items(connection: Connection, collection: str, ids: Sequence[str]) -> list[str]:
    """Remove items, and bring the collection's extent up to date; the ids that were there. Hold `lock_collection`."""
    with pgstac_session(connection):
        _require_collection(connection, collection)
        rows = connection.execute(
            "DELETE FROM pgstac.items WHERE collection = %s AND id = ANY(%s) RETURNING id", [collection, list(ids)]
        ).fetchall()
        refresh_extent(connection, collection)
    return [row[0] for row in rows]


def search_ids(connection: Connection, collection: str, ids: Sequence[str]) -> list[StacObject]:
    """The items of these ids, as a search by any reader of the catalogue finds them; in no given order."""
    if not ids:
        return []
    request = {"collections": [collection], "ids": list(ids), "limit": len(ids)}
    with pgstac_session(connection):
        row = connection.execute("SELECT pgstac.search(%s)", [Jsonb(request)]).fetchone()
    return list(row[0]["features"]) if row else []


def refresh_extent(connection: Connection, collection: str) -> None:
    """Set the collection's extent to that of its items; without items it stays as it is. Inside `pgstac_session`."""
    connection.execute(read_statement("refresh_extent"), [collection, collection])


def checked_ids(collection: str, items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids of items that may be stored in one call.

    Raises:
        InvalidInput: Two items have one id, or an item names another collection.
    """
    ids = [str(item["id"]) for item in items]
    duplicates = [identifier for identifier, count in Counter(ids).items() if count > 1]
    if duplicates:
        raise InvalidInput(
            f"{len(duplicates)} item ids of collection {collection!r} were given more than once: "
            f"{', '.join(duplicates[:5])}.",
            code="duplicate-item-id",
            hint="Give each item an id of its own.",
        )
    strangers = [str(item["id"]) for item in items if item.get("collection") != collection]
    if strangers:
        raise InvalidInput(
            f"{len(strangers)} items for collection {collection!r} name another one: {', '.join(strangers[:5])}.",
            code="wrong-collection",
        )
    return ids


def _require_collection(connection: Connection, collection: str) -> None:
    if connection.execute("SELECT FROM pgstac.collections WHERE id = %s", [collection]).fetchone() is None:
        raise CollectionNotFound.named(collection)


def _set_local(connection: Connection, *, search_path: str, zone: str) -> None:
    connection.execute(
        "SELECT set_config('search_path', %s, true), set_config('TimeZone', %s, true)", [search_path, zone]
    )
