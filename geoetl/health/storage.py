"""Both tiers: a blob can be written, read and deleted."""

import datetime as dt
import time
import uuid
from collections.abc import Iterator

from geoetl.config.storage import TierSettings
from geoetl.errors import SystemFault
from geoetl.health.databases import clock_diagnosis
from geoetl.health.diagnosis import Diagnosis
from geoetl.models.refs import BlobRef, Tier
from geoetl.storage.base import BlobStore

#: Folder of the canary blobs; nothing else is written there.
CANARY_FOLDER = "geoetl-doctor"


def check_tier(store: BlobStore, tier: Tier, settings: TierSettings) -> Iterator[Diagnosis]:
    """Write a small blob, read it back, sign a link to it, delete it; compare clocks."""
    ref = BlobRef.of(tier, settings.container, f"{CANARY_FOLDER}/{uuid.uuid4().hex}.txt")
    content = b"written by geoetl doctor, may be deleted"
    started = time.monotonic()
    before = dt.datetime.now(dt.UTC)
    written = store.upload(ref, content, content_type="text/plain")
    try:
        found = store.read_range(ref, offset=0, length=len(content) + 1, etag=written.etag)
        if found != content:
            raise SystemFault(
                f"Blob {ref} was written with {len(content)} bytes and read back with {len(found)} others.",
                code="storage-fault",
            )
        store.signed_href(ref, life_s=60)
    finally:
        store.delete(ref)
    took = time.monotonic() - started
    where = store.href(BlobRef.of(tier, settings.container, "x")).removesuffix("/x")
    yield Diagnosis(
        f"storage {tier}",
        "healthy",
        f"{where}: a blob was written, read, signed and deleted in {took * 1000:.0f} ms",
    )
    # The store's times have whole seconds.
    ahead_s = (written.last_modified - before).total_seconds()
    yield clock_diagnosis(f"clock of storage {tier}", 0.0 if -1 <= ahead_s <= took else ahead_s)
