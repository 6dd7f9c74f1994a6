"""The catalogue: collections and items in pgSTAC."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg.errors import DataError, UniqueViolation
from psycopg.types.json import Jsonb

from geoetl.db.collections import create_collection, has_collection
from geoetl.db.connections import Connection, database_errors
from geoetl.db.items import CollectionNotFound, StacObject, pgstac_session, search_ids
from geoetl.errors import InvalidInput, NotFound
from geoetl.models.catalogue import CollectionDefinition


class CollectionExists(InvalidInput):
    """A collection of this id exists already."""

    default_code = "collection-exists"


class ItemNotFound(NotFound):
    """The collection has no such item."""

    default_code = "item-missing"


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """One collection, in a list."""

    id: str
    title: str
    item_count: int


class Catalogue:
    """Collections and items, each call in a transaction of its own.

    To write items together with other rows, use the functions of `geoetl.db.items` in your own transaction.
    Every method raises `DatabaseUnavailable` where the business database is away.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        """A catalogue over the business database.

        Args:
            connect: Gives an open connection, and keeps it: a `ConnectionSource`.
        """
        self._connect = connect

    def create_collection(self, definition: CollectionDefinition) -> StacObject:
        """Create a collection without items; it as stored.

        Raises:
            CollectionExists: There is one of this id, whatever it says.
        """
        try:
            with self._transaction(f"create collection {definition.id!r}") as connection:
                collection = create_collection(connection, definition)
        except UniqueViolation as exc:
            raise CollectionExists(
                f"A collection {definition.id!r} exists already.", hint="Use it as it is, or choose another id."
            ) from exc
        return collection

    def get_collection(self, collection: str) -> StacObject:
        """The collection as stored.

        Raises:
            CollectionNotFound: There is none.
        """
        with self._transaction(f"read collection {collection!r}") as connection:
            row = connection.execute("SELECT content FROM pgstac.collections WHERE id = %s", [collection]).fetchone()
        if row is None:
            raise CollectionNotFound.named(collection)
        return row[0]

    def has_collection(self, collection: str) -> bool:
        """Whether there is one of this id."""
        with self._transaction(f"look for collection {collection!r}") as connection:
            return has_collection(connection, collection)

    def list_collections(self) -> list[CollectionSummary]:
        """All of them, by id."""
        with self._transaction("list the collections") as connection:
            rows = connection.execute(
                """
                SELECT c.id, coalesce(c.content ->> 'title', ''),
                       (SELECT count(*) FROM pgstac.items AS i WHERE i.collection = c.id)
                FROM pgstac.collections AS c
                ORDER BY c.id
                """
            ).fetchall()
        return [CollectionSummary(id=row[0], title=row[1], item_count=row[2]) for row in rows]

    def get_item(self, collection: str, item_id: str) -> StacObject:
        """The item whole, as a search returns it.

        Raises:
            ItemNotFound: The collection has none of this id, or does not exist.
        """
        with self._transaction(f"read item {item_id!r} of {collection!r}") as connection:
            row = connection.execute("SELECT pgstac.get_item(%s, %s)", [item_id, collection]).fetchone()
        if row is None or row[0] is None:
            raise ItemNotFound(f"Collection {collection!r} has no item {item_id!r}.")
        return row[0]

    def has_item(self, collection: str, item_id: str) -> bool:
        """Whether the collection has an item of this id; False as well where there is no such collection."""
        with self._transaction(f"look for item {item_id!r} of {collection!r}") as connection:
            query = "SELECT FROM pgstac.items WHERE collection = %s AND id = %s"
            return connection.execute(query, [collection, item_id]).fetchone() is not None

    def search_ids(self, collection: str, ids: Sequence[str]) -> list[StacObject]:
        """The items of these ids that a search finds; in no given order."""
        with self._transaction(f"search {len(ids)} items of {collection!r}") as connection:
            return search_ids(connection, collection, ids)

    def search(self, request: StacObject) -> StacObject:
        """The feature collection that pgSTAC answers to a STAC API item search (``POST /search``).

        Raises:
            InvalidInput: The request has a value that pgSTAC cannot read, for example a time.
        """
        try:
            with self._transaction("search the catalogue") as connection:
                row = connection.execute("SELECT pgstac.search(%s)", [Jsonb(request)]).fetchone()
        except DataError as exc:
            said = exc.diag.message_primary or str(exc)
            raise InvalidInput(
                f"The catalogue cannot read the search {json.dumps(request)}: {said}.",
                code="bad-search",
                hint="Times are RFC 3339: 2024-05-01T00:00:00Z, or an interval a/b with `..` for an open end.",
            ) from exc
        return row[0] if row else {"type": "FeatureCollection", "features": []}

    @contextmanager
    def _transaction(self, doing: str) -> Generator[Connection]:
        with database_errors(doing):
            connection = self._connect()
            with connection.transaction(), pgstac_session(connection):
                yield connection
