"""Removes blobs that runs wrote and nothing refers to any more.

Looked at are only paths that a run writes to (``<collection>/<item>/<run>/…``, see ``storage/paths.py``); anything else
in the container is none of ours. A blob goes when all of this holds: it is older than the grace period, the ledger
publishes neither it nor the artefact that it is the thumbnail of, and has not within the grace period, and its run
neither runs nor could be resumed. The order of reading matters: blobs, then runs, then the ledger. A run publishes
before it completes, so what is unpublished after its run was seen completed stays unpublished.
"""

import datetime as dt
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from geoetl.db.connections import database_errors
from geoetl.models.refs import BlobRef
from geoetl.publication.ledger import ConnectionFactory, read_sql
from geoetl.storage.base import BlobStore
from geoetl.storage.paths import thumbnail_ref

#: Readers may hold a product's address for so long after it was replaced; and no attempt runs for longer.
GRACE = dt.timedelta(days=7)

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_OF_A_RUN = re.compile(rf"^[^/]+/[^/]+/(?P<run>{_UUID})/.+")

#: Of the runs given, those that may still write or be resumed.
type UnfinishedRuns = Callable[[Sequence[str]], Collection[str]]


@dataclass(frozen=True, slots=True)
class SweptBlob:
    """A blob that was removed, or would be."""

    uri: str
    size_bytes: int
    run_id: str
    last_modified: dt.datetime


def sweep(
    store: BlobStore,
    connections: ConnectionFactory,
    unfinished_runs: UnfinishedRuns,
    *,
    container: str,
    grace: dt.timedelta = GRACE,
    dry_run: bool = True,
    now: dt.datetime | None = None,
) -> list[SweptBlob]:
    """Find, and unless it is a dry run remove, what nothing refers to in a silver container.

    Args:
        store: The blobs.
        connections: Gives a connection to the business database.
        unfinished_runs: Asks the app database. Runs that it does not know are not unfinished.
        container: A container of the silver tier.
        grace: How old a blob must be, and how long ago its artefact must have been replaced.
        dry_run: Only find.
        now: Instead of the present, for tests.

    Raises:
        TransientError: Storage or a database is away; what was removed before stays removed.
    """
    oldest_kept = (now or dt.datetime.now(dt.UTC)) - grace
    candidates = [
        (blob, found["run"])
        for blob in store.list("silver", container)
        if blob.last_modified < oldest_kept and (found := _OF_A_RUN.match(blob.ref.path))
    ]
    unfinished = set(unfinished_runs(sorted({run for _, run in candidates})))
    kept = _in_use(connections, since=oldest_kept)
    swept = [
        SweptBlob(str(blob.ref), blob.size_bytes, run, blob.last_modified)
        for blob, run in candidates
        if run not in unfinished and str(blob.ref) not in kept
    ]
    if not dry_run:
        by_uri = {str(blob.ref): blob for blob, _ in candidates}
        for each in swept:
            store.delete(by_uri[each.uri].ref)
    return swept


def _in_use(connections: ConnectionFactory, *, since: dt.datetime) -> set[str]:
    """Published artefacts, and those replaced lately, with their thumbnails; an attempt that lost lies beside them."""
    with database_errors("read what the ledger refers to"):
        rows = connections().execute(read_sql("artefacts_in_use"), {"since": since}).fetchall()
    artefacts = [BlobRef(row[0]) for row in rows]
    return {str(ref) for artefact in artefacts for ref in (artefact, thumbnail_ref(artefact))}
