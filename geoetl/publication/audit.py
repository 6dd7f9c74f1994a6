"""Whether catalogue, ledger and store say the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from geoetl.db.connections import database_errors
from geoetl.models.refs import BlobRef
from geoetl.publication.ledger import ConnectionFactory, read_sql
from geoetl.storage.base import BlobNotFound, BlobStore

type ProblemKind = Literal[
    "item-without-artefact", "artefact-without-item", "artefact-missing", "artefact-changed", "href-dead"
]

_HINTS: Mapping[ProblemKind, str] = {
    "item-without-artefact": "Nothing of geoetl published it, or a publication was lost: delete it or publish again.",
    "artefact-without-item": "`geoetl catalog rebuild` makes the item anew.",
    "artefact-missing": "Restore the blob (soft delete), or run its job again with force.",
    "artefact-changed": "Somebody overwrote a published product: run its job again with force.",
    "href-dead": "Restore the blob (soft delete), or run its job again with force.",
}


@dataclass(frozen=True, slots=True)
class CatalogueProblem:
    """One thing that does not fit."""

    kind: ProblemKind
    collection: str
    item_id: str
    detail: str = ""

    @property
    def hint(self) -> str:
        return _HINTS[self.kind]


def audit(
    connections: ConnectionFactory, store: BlobStore, *, collection: str | None = None
) -> Iterator[CatalogueProblem]:
    """Compare the three; of one collection or of all.

    Raises:
        TransientError: The business database or the storage is away.
    """
    with database_errors("compare the catalogue with the ledger"):
        connection = connections()
        unmatched = connection.execute(read_sql("unmatched_items"), {"collection": collection}).fetchall()
        published = connection.execute(read_sql("published"), {"collection": collection}).fetchall()
    for kind, of, item_id in unmatched:
        yield CatalogueProblem(kind, of, item_id)
    listing = _Listing(store)
    for of, item_id, uri, etag, _, item in published:
        ref = BlobRef(uri)
        found = listing.etag(ref, of)
        if found is None:
            yield CatalogueProblem("artefact-missing", of, item_id, uri)
        elif found != etag:
            yield CatalogueProblem("artefact-changed", of, item_id, uri)
        for href in _other_hrefs(item, store.href(ref)):
            asset = _ref_of(href, ref, store)
            if asset is not None and listing.etag(asset, of) is None:
                yield CatalogueProblem("href-dead", of, item_id, href)


class _Listing:
    """ETags of blobs: by one listing per container and collection, which is far cheaper than a request per blob."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._etags: dict[tuple[str, str], dict[str, str]] = {}

    def etag(self, ref: BlobRef, collection: str) -> str | None:
        prefix = f"{collection}/"
        if not ref.path.startswith(prefix):
            return self._etag_alone(ref)
        key = (ref.container, prefix)
        if key not in self._etags:
            try:
                self._etags[key] = {
                    blob.ref.path: blob.etag for blob in self._store.list(ref.tier, ref.container, prefix)
                }
            except BlobNotFound:  # the container is gone
                self._etags[key] = {}
        return self._etags[key].get(ref.path)

    def _etag_alone(self, ref: BlobRef) -> str | None:
        try:
            return self._store.properties(ref).etag
        except BlobNotFound:
            return None


def _other_hrefs(item: Mapping[str, Any] | None, main: str) -> list[str]:
    assets: Mapping[str, Mapping[str, Any]] = (item or {}).get("assets") or {}
    return [str(asset["href"]) for asset in assets.values() if "href" in asset and asset["href"] != main]


def _ref_of(href: str, beside: BlobRef, store: BlobStore) -> BlobRef | None:
    """The blob that an href of our store names; None for addresses elsewhere, which are not ours to check."""
    root = store.href(BlobRef.of(beside.tier, beside.container, "x")).removesuffix("x")
    if not href.startswith(root):
        return None
    return BlobRef.of(beside.tier, beside.container, unquote(href.removeprefix(root)))
