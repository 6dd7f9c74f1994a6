"""Publication: products become visible, searchable and recorded in one transaction, or not at all."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import batched
from typing import cast

import psycopg
from psycopg.errors import UniqueViolation

from geoetl.db.collections import create_collection as make_collection
from geoetl.db.collections import has_collection
from geoetl.db.connections import Connection, database_errors
from geoetl.db.items import lock_collection, search_ids, upsert_items
from geoetl.db.loading import load_items, stage_items, store_staged_items, stored_assets
from geoetl.errors import InvalidInput, SystemFault
from geoetl.models.catalogue import CollectionDefinition
from geoetl.models.publication import Publication, PublicationToken
from geoetl.models.refs import RunId
from geoetl.publication.ledger import ConnectionFactory, record_artefacts

#: Up to so many items go through pgSTAC's own functions, more of them by COPY.
FEW_ITEMS = 500

#: Rows per read of the read-back: bounds the size of its answer.
CHUNK_ITEMS = 1000

#: Of many items, so many are searched; evenly spread.
SEARCHED_OF_MANY = 100

#: How long to wait for other publications into the same collection, each of which takes some 3 s for 10,000 items.
LOCK_TIMEOUT_S = 120.0


class PostgresPublisher:
    """The ``Publisher`` on the business database. Asks for a connection at each call: may be made before a fork."""

    def __init__(self, connections: ConnectionFactory, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self._connections = connections
        self._lock_timeout_s = lock_timeout_s

    def publish(
        self,
        collection: str,
        publications: Sequence[Publication],
        *,
        run_id: RunId,
        job_id: str,
        token: PublicationToken,
        create_collection: bool = False,
    ) -> list[str]:
        """Publish all or none; the item ids that a search found afterwards, in the given order.

        The same publication under the same token may be repeated, for example where the answer to the commit was
        lost.

        Args:
            collection: Where to.
            publications: Items and what they stand for.
            run_id: The run that publishes.
            job_id: Its job.
            token: Its place in the order of publications.
            create_collection: Make the collection where it does not exist, in the same transaction.

        Raises:
            LeaseLost: A later attempt of the same run has published one of the items.
            Superseded: A later run has.
            CollectionNotFound: There is no such collection.
            InvalidInput: An item is given twice, or is of another collection.
            DatabaseUnavailable: The database is away, or another publication holds the collection for too long.
            SystemFault: pgSTAC refused an item, or did not keep what it was given.
        """
        item_ids = _item_ids(collection, publications)
        with _publication_errors(f"publish {len(item_ids)} items into collection {collection!r}"):
            connection = self._connections()
            items = [publication.item for publication in publications]
            with connection.transaction():
                # What takes half the time needs no lock: other publications go on meanwhile.
                is_staged = (
                    len(items) > FEW_ITEMS
                    and has_collection(connection, collection)
                    and stage_items(connection, collection, items)
                )
                lock_collection(connection, collection, timeout_s=self._lock_timeout_s)
                if create_collection and not has_collection(connection, collection):
                    # Who makes one by hand holds no lock, and may commit first: then that one is used.
                    with suppress(UniqueViolation), connection.transaction():
                        make_collection(connection, CollectionDefinition(id=collection, description=collection))
                # The token first: who is too late must not cost a load.
                record_artefacts(connection, collection, publications, run_id=run_id, job_id=job_id, token=token)
                if is_staged:
                    store_staged_items(connection, collection)
                else:
                    store = upsert_items if len(items) <= FEW_ITEMS else load_items
                    store(connection, collection, items)
                _read_back(connection, collection, publications)
        return item_ids


def _item_ids(collection: str, publications: Sequence[Publication]) -> list[str]:
    item_ids = [str(publication.item["id"]) for publication in publications]
    if not item_ids:
        raise InvalidInput(f"There is nothing to publish into collection {collection!r}.", code="nothing-to-publish")
    if len(set(item_ids)) != len(item_ids):
        twice = next(item_id for item_id in item_ids if item_ids.count(item_id) > 1)
        raise InvalidInput(
            f"Item {twice!r} is to be published into collection {collection!r} twice.",
            code="duplicate-item-id",
            hint="Give each item an id of its own.",
        )
    return item_ids


def _read_back(connection: Connection, collection: str, publications: Sequence[Publication]) -> None:
    """Find every item again and compare its hrefs: pgSTAC can lose or keep rows without an error.

    Few items are searched, as a reader would. Of many, every row is read, and some are searched: all of them lie in
    one partition, which searches see or do not.

    Raises:
        SystemFault: An item is missing, or is not the one that was written.
    """
    expected = {str(publication.item["id"]): _hrefs(publication.item) for publication in publications}
    found: dict[str, dict[str, object]] = {}
    searched = list(expected)
    if len(expected) > FEW_ITEMS:
        for chunk in batched(expected, CHUNK_ITEMS):
            found |= {
                item_id: _hrefs({"assets": assets}) for item_id, assets in stored_assets(connection, collection, chunk)
            }
        searched = searched[:: -(-len(searched) // SEARCHED_OF_MANY)]
    # Else pgSTAC would store this search, and no other search is ever like it.
    connection.execute("SELECT set_config('pgstac.readonly', 'true', true)")
    seen = {str(item["id"]): _hrefs(item) for item in search_ids(connection, collection, searched)}
    for item_id in searched:
        found.pop(item_id, None)
    found |= seen
    wrong = [item_id for item_id, hrefs in expected.items() if found.get(item_id) != hrefs]
    if wrong:
        raise SystemFault(
            f"{len(wrong)} of {len(publications)} items written into collection {collection!r} are not found as "
            f"written by a search; the first is {wrong[0]!r}. Nothing was published.",
            code="read-back-failed",
            hint="Look for triggers and partitions of this collection in schema pgstac that geoetl did not make.",
        )


def _hrefs(item: Mapping[str, object]) -> dict[str, object]:
    assets = cast("Mapping[str, Mapping[str, object]]", item.get("assets") or {})
    return {name: asset.get("href") for name, asset in assets.items()}


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
