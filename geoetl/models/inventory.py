"""What the tasks of an inventory take and return."""

from pydantic import Field

from geoetl.models.base import Model
from geoetl.models.refs import BlobRef


class ListInput(Model):
    """Find the blobs of a container of Bronze."""

    container: str
    prefix: str = ""
    per_task: int = Field(ge=1)
    """How many blobs one task of the next stage reads."""


class ListOutput(Model):
    """The blobs, in portions."""

    portions: tuple[tuple[BlobRef, ...], ...]


class ChecksumInput(Model):
    """Read these blobs."""

    blobs: tuple[BlobRef, ...]


class Entry(Model):
    """One line of the inventory."""

    blob: BlobRef
    size_bytes: int
    sha256: str


class ChecksumOutput(Model):
    """Lines of one portion."""

    entries: tuple[Entry, ...]


class WriteInput(Model):
    """Write all lines into one file."""

    entries: tuple[Entry, ...]
    target: BlobRef


class WriteOutput(Model):
    """The file."""

    target: BlobRef
    lines: int
    total_bytes: int
