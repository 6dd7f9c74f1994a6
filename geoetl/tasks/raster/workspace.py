"""The scratch folder of an attempt: room is checked before, the source comes in with the ETag that was checked."""

import errno
import hashlib
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from geoetl.errors import TransientError
from geoetl.gdal.sources import source_changed
from geoetl.models.refs import BlobRef
from geoetl.storage.base import BlobChanged, BlobNotFound, BlobProperties
from geoetl.tasks.context import TaskContext

_CHUNK_BYTES = 4 * 1024 * 1024


def fetch_source(
    ref: BlobRef, etag: str, ctx: TaskContext, *, more_bytes: int = 0, name: str = "source.bin"
) -> tuple[Path, BlobProperties]:
    """A local copy of a source blob, of exactly the version that was checked at submit, and what the store says of it.

    Args:
        ref: The source.
        etag: Its ETag at submit.
        ctx: Owns the scratch folder; it is removed with the attempt.
        more_bytes: Room the task needs besides the copy.
        name: Of the copy. A plain name of ours: GDAL treats some names specially, and a user's name is data.

    Raises:
        BadData: ``source-changed``: replaced or deleted since submit.
        TransientError: ``scratch-full``: this worker has no room now; another may have.
    """
    path = ctx.scratch / name
    try:
        require_space(ctx.scratch, ctx.store.properties(ref).size_bytes + more_bytes, ref)
        return path, ctx.store.download(ref, path, etag=etag)
    except (BlobChanged, BlobNotFound) as exc:
        raise source_changed(ref, etag, exc) from exc


def require_space(folder: Path, needed_bytes: int, ref: str) -> None:
    """Refuse work that cannot end.

    Raises:
        TransientError: ``scratch-full``.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise TransientError(
            f"Working on {ref} needs {needed_bytes / 1e9:,.2f} GB of scratch in {folder.parent}; "
            f"{free / 1e9:,.2f} GB are free.",
            code="scratch-full",
            hint="It is tried again later. If this stays, set GEOETL_RASTER__SCRATCH_DIR to a larger volume.",
        )


@contextmanager
def written_to_scratch(ref: str) -> Generator[None]:
    """Say it in our words when the disk is full while the work on ``ref`` goes on.

    Raises:
        TransientError: ``scratch-full``.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise TransientError(
            f"Working on {ref} failed because the scratch disk took no more: {exc.strerror}.",
            code="scratch-full",
            hint="It is tried again later; give the workers a larger scratch volume if this stays.",
        ) from exc


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read once in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
