"""Checks of blobs: is it there, and is its size one that a job can take."""

from typing import cast

from pydantic import BaseModel

from geoetl.errors import Finding
from geoetl.models.raster import BlobFacts
from geoetl.models.refs import BlobRef
from geoetl.preflight.checks import Check, Outcome, Services, Subject
from geoetl.preflight.each import CheckEach, value_of
from geoetl.storage.base import BlobNotFound, BlobStore

#: Keys of these facts in a report.
BLOB_EXISTS = "blob-exists"
BLOB_EXISTS_WITH_SIZE = "blob-exists-with-size"
BLOB_NOT_EXISTS = "blob-not-exists"


def blob_exists(parameter: str) -> Check:
    """The blob, or each blob of a list, exists, whatever its size; the fact is a ``BlobFacts``.

    Args:
        parameter: Field of the spec: a ``BlobRef``, a sequence of them, or None.
    """

    def verdict(subject: Subject, _spec: BaseModel, services: Services) -> Outcome:
        facts, _ = check_blob(
            services.store,
            cast("BlobRef", subject.value),
            parameter=subject.parameter,
            min_bytes=0,
            max_bytes=None,
        )
        return Outcome(fact=facts)

    return CheckEach(BLOB_EXISTS, parameter, verdict)


def blob_exists_with_size(parameter: str, *, min_bytes: int | None = None, max_bytes: int | None = None) -> Check:
    """The blob, or each blob of a list, exists and its size is within limits; the fact is a ``BlobFacts``.

    Args:
        parameter: Field of the spec: a ``BlobRef``, a sequence of them, or None.
        min_bytes: Smallest size accepted; None: the installation's ``limits.min_source_bytes``.
        max_bytes: Largest size accepted; None: the installation's ``limits.max_source_bytes``.
    """

    def verdict(subject: Subject, _spec: BaseModel, services: Services) -> Outcome:
        facts, finding = check_blob(
            services.store,
            cast("BlobRef", subject.value),
            parameter=subject.parameter,
            min_bytes=services.min_source_bytes if min_bytes is None else min_bytes,
            max_bytes=services.max_source_bytes if max_bytes is None else max_bytes,
        )
        return Outcome(findings=() if finding is None else (finding,), fact=facts)

    return CheckEach(BLOB_EXISTS_WITH_SIZE, parameter, verdict)


def blob_not_exists(parameter: str, *, unless: str | None = None) -> Check:
    """The blob, or each blob of a list, does not exist yet, in a container that does.

    Args:
        parameter: Field of the spec: a ``BlobRef``, a sequence of them, or None.
        unless: Field of the spec that, when true, lets the job overwrite.
    """

    def verdict(subject: Subject, spec: BaseModel, services: Services) -> Outcome:
        if unless is not None and value_of(spec, unless):
            return Outcome()
        ref = cast("BlobRef", subject.value)
        try:
            found = services.store.properties(ref)
        except BlobNotFound as exc:
            if exc.code == BlobNotFound.default_code:
                return Outcome()
            raise
        finding = Finding(
            code="blob-exists",
            message=f"Blob {ref} exists already ({found.size_bytes:,} bytes of {found.last_modified:%Y-%m-%d %H:%M}).",
            hint=f"Choose another path{f', or set `{unless}`' if unless else ', or delete the blob'}.",
            parameter=subject.parameter,
        )
        return Outcome(findings=(finding,))

    return CheckEach(BLOB_NOT_EXISTS, parameter, verdict)


def check_blob(
    store: BlobStore, ref: BlobRef, *, parameter: str, min_bytes: int, max_bytes: int | None
) -> tuple[BlobFacts, Finding | None]:
    """What the store says of a blob, and what is wrong with its size.

    Raises:
        BlobNotFound: There is no such blob.
        TransientError: The storage is away.
    """
    found = store.properties(ref)
    facts = BlobFacts(
        size_bytes=found.size_bytes,
        etag=found.etag,
        content_type=found.content_type,
        last_modified=found.last_modified,
    )
    return facts, _size_finding(ref, found.size_bytes, min_bytes, max_bytes, parameter)


def _size_finding(ref: BlobRef, size: int, smallest: int, largest: int | None, parameter: str) -> Finding | None:
    if size == 0 and smallest > 0:
        return Finding(
            code="blob-empty",
            message=f"Blob {ref} is empty (0 bytes).",
            hint="Its upload was probably broken off: upload it again.",
            parameter=parameter,
        )
    if size < smallest:
        return Finding(
            code="blob-too-small",
            message=f"Blob {ref} has {size:,} bytes; at least {smallest:,} are needed.",
            hint="Check that it is the right file and was uploaded whole.",
            parameter=parameter,
        )
    if largest is not None and size > largest:
        return Finding(
            code="blob-too-large",
            message=f"Blob {ref} has {size:,} bytes; at most {largest:,} are accepted.",
            hint="Split it, or have GEOETL_LIMITS__MAX_SOURCE_BYTES raised.",
            parameter=parameter,
        )
    return None
