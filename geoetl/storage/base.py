"""What geoetl needs of a blob store. ``azure.py`` implements it."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geoetl.errors import NotFound, TransientError
from geoetl.models.refs import BlobRef, Tier


class BlobNotFound(NotFound):
    """The blob, or its container, does not exist."""

    default_code = "blob-missing"


class BlobChanged(NotFound):
    """The blob exists, but is not the version that was asked for by ETag."""

    default_code = "source-changed"


class BlobExists(NotFound):
    """Something is already written where only a new blob may go."""

    default_code = "blob-exists"


class StorageUnavailable(TransientError):
    """The store did not answer, throttled, or refused for a reason that passes."""

    default_code = "storage-unavailable"


@dataclass(frozen=True, slots=True)
class BlobProperties:
    """What the store says about a blob."""

    ref: BlobRef
    size_bytes: int
    etag: str
    """Without quotes."""
    content_type: str
    last_modified: dt.datetime
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class GdalAccess:
    """How GDAL reaches a blob: made at the moment of use, never stored."""

    path: str
    """A ``/vsi…`` path, or a local path."""
    options: dict[str, str]
    """For ``rasterio.Env``, inside the task only; holds secrets."""


@dataclass(frozen=True, slots=True)
class GdalAccessToMany:
    """How GDAL reaches several blobs at once; as ``GdalAccess``, but the paths may hold secrets too."""

    paths: tuple[str, ...]
    """In the order of the references."""
    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class StagedBlock:
    """A block of a blob to be: stored, but in no blob yet."""

    id: str
    size_bytes: int


class BlockStore(Protocol):
    """One blob from blocks that many processes upload, in any order. Nothing can be read before the commit."""

    def stage_block(self, ref: BlobRef, block_id: str, data: bytes) -> None:
        """Upload a block; the same id again replaces it.

        Args:
            ref: The blob to be. Blocks that nobody commits are dropped by the store a week after the last upload.
            block_id: 1 to 64 ASCII characters; all blocks of a blob have ids of one length.
            data: At least one byte.
        """
        ...

    def staged_blocks(self, ref: BlobRef) -> list[StagedBlock]:
        """Blocks that are staged and not committed, in no order; none where nothing was ever staged."""
        ...

    def commit_blocks(
        self, ref: BlobRef, block_ids: Sequence[str], *, content_type: str, metadata: dict[str, str] | None = None
    ) -> BlobProperties:
        """Make the blob of staged blocks, in this order; all others are dropped.

        Only where there is none yet (If-None-Match), else ``BlobExists``; ``BlobChanged`` where a block is missing.
        """
        ...


class BlobStore(BlockStore, Protocol):
    """Blobs by reference. Every method raises ``StorageUnavailable`` when the store is away."""

    def properties(self, ref: BlobRef) -> BlobProperties:
        """Size, ETag and so on; ``BlobNotFound`` where there is none."""
        ...

    def read_range(self, ref: BlobRef, *, offset: int, length: int, etag: str | None = None) -> bytes:
        """Bytes ``[offset, offset + length)``, fewer at the end; ``BlobChanged`` where the ETag differs."""
        ...

    def download(self, ref: BlobRef, path: Path, *, etag: str | None = None) -> BlobProperties:
        """Write the whole blob to ``path``; ``BlobChanged`` where the ETag differs."""
        ...

    def upload(
        self,
        ref: BlobRef,
        source: Path | bytes,
        *,
        content_type: str,
        overwrite: bool = False,
        metadata: dict[str, str] | None = None,
    ) -> BlobProperties:
        """Write a blob; without ``overwrite`` only where there is none (If-None-Match), else ``BlobExists``."""
        ...

    def delete(self, ref: BlobRef) -> bool:
        """Remove a blob; whether there was one."""
        ...

    def list(self, tier: Tier, container: str, prefix: str = "") -> Iterator[BlobProperties]:
        """Blobs under a prefix, by path."""
        ...

    def href(self, ref: BlobRef) -> str:
        """The https address (http of the embedded stack) that a STAC item stores: no token in it."""
        ...

    def signed_href(self, ref: BlobRef, *, life_s: int) -> str:
        """The same with a read-only SAS of that life."""
        ...

    def gdal_access(self, ref: BlobRef, *, life_s: int) -> GdalAccess:
        """How GDAL may read this blob for the next ``life_s`` seconds."""
        ...

    def gdal_access_to(self, refs: Sequence[BlobRef], *, life_s: int) -> GdalAccessToMany:
        """How GDAL may read these blobs together, for example in one VRT, for the next ``life_s`` seconds."""
        ...

    def ensure_container(self, tier: Tier, container: str) -> None:
        """Create the container where it is missing."""
        ...
