"""Listing blobs, reading them once, and writing down what they are."""

import csv
import hashlib
import io
from itertools import batched

from geoetl.models.inventory import (
    ChecksumInput,
    ChecksumOutput,
    Entry,
    ListInput,
    ListOutput,
    WriteInput,
    WriteOutput,
)
from geoetl.models.refs import BlobRef
from geoetl.storage.base import BlobExists
from geoetl.tasks.context import TaskContext

_BLOCK_BYTES = 8 * 1024 * 1024


def list_blobs(given: ListInput, ctx: TaskContext) -> ListOutput:
    """The blobs under a prefix, in portions."""
    blobs = [blob.ref for blob in ctx.store.list("bronze", given.container, given.prefix)]
    return ListOutput(portions=tuple(batched(blobs, given.per_task)))


def checksum_blobs(given: ChecksumInput, ctx: TaskContext) -> ChecksumOutput:
    """SHA-256 of each blob, read in blocks of one version of it."""
    return ChecksumOutput(entries=tuple(_checksum(blob, ctx) for blob in given.blobs))


def _checksum(blob: BlobRef, ctx: TaskContext) -> Entry:
    found = ctx.store.properties(blob)
    digest = hashlib.sha256()
    for offset in range(0, found.size_bytes, _BLOCK_BYTES):
        ctx.checkpoint()
        digest.update(ctx.store.read_range(blob, offset=offset, length=_BLOCK_BYTES, etag=found.etag))
    return Entry(blob=blob, size_bytes=found.size_bytes, sha256=digest.hexdigest())


def write_inventory(given: WriteInput, ctx: TaskContext) -> WriteOutput:
    """One CSV file. A second attempt finds the first one's file, which says the same."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(("blob", "size_bytes", "sha256"))
    lines.writerows((entry.blob, entry.size_bytes, entry.sha256) for entry in given.entries)
    try:
        ctx.store.upload(given.target, text.getvalue().encode(), content_type="text/csv")
    except BlobExists:
        ctx.log.info("inventory was written by an earlier attempt", target=given.target)
    return WriteOutput(
        target=given.target, lines=len(given.entries), total_bytes=sum(entry.size_bytes for entry in given.entries)
    )
