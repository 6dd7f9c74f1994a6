"""Publication: a product becomes visible, searchable and recorded in one transaction, or not at all."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import batched
from typing import Protocol, cast

import psycopg

from geoetl.db.connections import Connection, database_errors
from geoetl.errors import NotFound, SystemFault
from geoetl.models.publication import Publication, PublicationToken
from geoetl.models.refs import RunId
from geoetl.publication.ledger import ConnectionFactory, lock_collection, record_artefacts

#: Items per call of pgSTAC: bounds the size of a statement, not of the transaction.
CHUNK_ITEMS = 500

#: How long to wait for another publication into the same collection; one of 10,000 items takes less.
LOCK_TIMEOUT_S = 120


class ItemCatalogue(Protocol):
    """What publication needs of the catalogue; each call works inside the caller's transaction."""

    def has_collection(self, connection: Connection, collection: str) -> bool:
        """Whether the collection exists."""
        ...

    def upsert_items(self, connection: Connection, items: Sequence[Mapping[str, object]]) -> None:
        """Write items of one collection."""
        ...

    def find_items(
        self, connection: Connection, collection: str, item_ids: Sequence[str]
    ) -> Sequence[Mapping[str, object]]:
        """Those of the items that a search finds, in any order."""
        ...

    def update_extent(self, connection: Connection, collection: str) -> None:
        """Make the collection's extent that of its items."""
        ...


class PostgresPublisher:
    """The ``Publisher`` on the business database. Holds no connection, so it may be made before a fork."""

    def __init__(
        self, connections: ConnectionFactory, catalogue: ItemCatalogue, *, lock_timeout_s: int = LOCK_TIMEOUT_S
    ) -> None:
        self._connections = connections
        self._catalogue = catalogue
        self._lock_timeout_s = lock_timeout_s

    def publish(
        self,
        collection: str,
        publications: Sequence[Publication],
        *,
        run_id: RunId,
        job_id: str,
        token: PublicationToken,
    ) -> list[str]:
        """Publish all or none; the item ids that a search found afterwards, in the given order.

        The same publication under the same token may be repeated, for example where the answer to the commit was
        lost.

        Raises:
            LeaseLost: A later attempt of the same run has published one of the items.
            Superseded: A later run has.
            NotFound: There is no such collection.
            TransientError: The database is away, or another publication holds the collection for too long.
            SystemFault: pgSTAC refused an item, or did not keep what it was given.
        """
        item_ids = _item_ids(collection, publications)
        with _publication_errors(f"publish {len(item_ids)} item(s) into collection {collection!r}"):
            connection = self._connections()
            with connection.transaction():
                connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{self._lock_timeout_s}s"])
                lock_collection(connection, collection)
                self._require_collection(connection, collection)
                record_artefacts(connection, collection, publications, run_id=run_id, job_id=job_id, token=token)
                self._load(connection, publications)
                self._read_back(connection, collection, publications)
                self._catalogue.update_extent(connection, collection)
        return item_ids

    def _require_collection(self, connection: Connection, collection: str) -> None:
        if not self._catalogue.has_collection(connection, collection):
            raise NotFound(
                f"Publishing into collection {collection!r} failed: there is no such collection.",
                code="collection-missing",
                hint=f"Create it with `geoetl collection create {collection}`, then resume the job.",
            )

    def _load(self, connection: Connection, publications: Sequence[Publication]) -> None:
        for chunk in batched(publications, CHUNK_ITEMS):
            self._catalogue.upsert_items(connection, [publication.item for publication in chunk])

    def _read_back(self, connection: Connection, collection: str, publications: Sequence[Publication]) -> None:
        """Search for every item and compare its hrefs: pgSTAC can lose or keep rows without an error."""
        wrong: list[str] = []
        for chunk in batched(publications, CHUNK_ITEMS):
            expected = {str(publication.item["id"]): _hrefs(publication.item) for publication in chunk}
            found = self._catalogue.find_items(connection, collection, list(expected))
            visible = {str(item["id"]): _hrefs(item) for item in found}
            wrong += [item_id for item_id, hrefs in expected.items() if visible.get(item_id) != hrefs]
        if wrong:
            raise SystemFault(
                f"{len(wrong)} of {len(publications)} items written into collection {collection!r} are not found as "
                f"written by a search, the first is {wrong[0]!r}. Nothing was published.",
                code="read-back-failed",
                hint="Check pgSTAC's partitions of this collection with `geoetl doctor`.",
            )


@contextmanager
def _publication_errors(doing: str) -> Generator[None]:
    """An item that pgSTAC refuses is a fault of ours: items are validated before they come here."""
    try:
        with database_errors(doing):
            yield
    except psycopg.DatabaseError as error:
        raise SystemFault(
            f"Could not {doing}: the catalogue refused it ({error.diag.message_primary or type(error).__name__}). "
            "Nothing was published.",
            code="catalogue-refused",
        ) from error


def _item_ids(collection: str, publications: Sequence[Publication]) -> list[str]:
    """The ids, in order; each once, and all of this collection."""
    item_ids = [str(publication.item["id"]) for publication in publications]
    if not item_ids:
        raise ValueError("nothing to publish")
    if len(set(item_ids)) != len(item_ids):
        twice = next(item_id for item_id in item_ids if item_ids.count(item_id) > 1)
        raise ValueError(f"item {twice!r} is given twice")
    for publication in publications:
        if publication.item.get("collection") != collection:
            raise ValueError(f"item {publication.item['id']!r} is not of collection {collection!r}")
    return item_ids


def _hrefs(item: Mapping[str, object]) -> dict[str, object]:
    assets = cast("Mapping[str, Mapping[str, object]]", item.get("assets") or {})
    return {name: asset.get("href") for name, asset in assets.items()}
