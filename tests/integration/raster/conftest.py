"""Stores, contexts and rasters for the cores: everything here is made by code, on local disk."""

import dataclasses
import datetime as dt
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog

from geoetl.models.refs import BlobRef, RunId, Tier
from geoetl.storage.base import (
    BlobChanged,
    BlobExists,
    BlobNotFound,
    BlobProperties,
    GdalAccess,
    GdalAccessToMany,
    StagedBlock,
)
from geoetl.tasks.context import Publication, PublicationToken
from tests.integration.raster.mosaics import Sources

RUN = RunId("5f0c3d9e")
TOKEN = PublicationToken(run_sequence=7, attempt=1)
MODIFIED = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)


class FolderStore:
    """A ``BlobStore`` of files: the ETag is the time of the last write, metadata lies beside."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, ref: BlobRef) -> Path:
        return self._root / ref.tier / ref.container / ref.path

    def properties(self, ref: BlobRef) -> BlobProperties:
        path = self.path(ref)
        if not path.is_file():
            raise BlobNotFound(f"{ref} does not exist.", hint="Upload it.")
        about = json.loads(self._about(ref).read_text()) if self._about(ref).exists() else {}
        return BlobProperties(
            ref=ref,
            size_bytes=path.stat().st_size,
            etag=f"0x{path.stat().st_mtime_ns:X}",
            content_type=about.get("content_type", "application/octet-stream"),
            last_modified=MODIFIED,
            metadata=about.get("metadata", {}),
        )

    def read_range(self, ref: BlobRef, *, offset: int, length: int, etag: str | None = None) -> bytes:
        self._same(ref, etag)
        with self.path(ref).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def download(self, ref: BlobRef, path: Path, *, etag: str | None = None) -> BlobProperties:
        found = self._same(ref, etag)
        shutil.copyfile(self.path(ref), path)
        return found

    def upload(
        self,
        ref: BlobRef,
        source: Path | bytes,
        *,
        content_type: str,
        overwrite: bool = False,
        metadata: dict[str, str] | None = None,
    ) -> BlobProperties:
        path = self.path(ref)
        if path.exists() and not overwrite:
            raise BlobExists(f"{ref} exists.")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            path.write_bytes(source)
        else:
            shutil.copyfile(source, path)
        self._about(ref).write_text(json.dumps({"content_type": content_type, "metadata": metadata or {}}))
        return self.properties(ref)

    def stage_block(self, ref: BlobRef, block_id: str, data: bytes) -> None:
        self._blocks(ref).mkdir(parents=True, exist_ok=True)
        (self._blocks(ref) / block_id).write_bytes(data)

    def staged_blocks(self, ref: BlobRef) -> list[StagedBlock]:
        folder = self._blocks(ref)
        return [StagedBlock(path.name, path.stat().st_size) for path in folder.iterdir()] if folder.exists() else []

    def commit_blocks(
        self, ref: BlobRef, block_ids: Sequence[str], *, content_type: str, metadata: dict[str, str] | None = None
    ) -> BlobProperties:
        if missing := set(block_ids) - {block.id for block in self.staged_blocks(ref)}:
            raise BlobChanged(f"{ref}: {len(missing)} blocks are not staged.")
        content = b"".join((self._blocks(ref) / block_id).read_bytes() for block_id in block_ids)
        written = self.upload(ref, content, content_type=content_type, metadata=metadata)
        shutil.rmtree(self._blocks(ref))
        return written

    def delete(self, ref: BlobRef) -> bool:
        existed = self.path(ref).exists()
        self.path(ref).unlink(missing_ok=True)
        return existed

    def list(self, tier: Tier, container: str, prefix: str = "") -> Iterator[BlobProperties]:
        folder = self._root / tier / container
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            is_blob = path.is_file() and not name.endswith(".about.json") and ".blocks/" not in name
            if is_blob and name.startswith(prefix):
                yield self.properties(BlobRef.of(tier, container, name))

    def href(self, ref: BlobRef) -> str:
        return f"https://{ref.tier}.example.net/{ref.container}/{ref.path}"

    def signed_href(self, ref: BlobRef, *, life_s: int) -> str:
        return f"{self.href(ref)}?se={life_s}&sig=secret"

    def gdal_access(self, ref: BlobRef, *, life_s: int) -> GdalAccess:
        return GdalAccess(str(self.path(ref)), {"FOLDER_STORE_LIFE_S": str(life_s)})

    def gdal_access_to(self, refs: Sequence[BlobRef], *, life_s: int) -> GdalAccessToMany:
        return GdalAccessToMany(tuple(str(self.path(ref)) for ref in refs), {"FOLDER_STORE_LIFE_S": str(life_s)})

    def ensure_container(self, tier: Tier, container: str) -> None:
        (self._root / tier / container).mkdir(parents=True, exist_ok=True)

    def _blocks(self, ref: BlobRef) -> Path:
        return self.path(ref).with_name(self.path(ref).name + ".blocks")

    def _about(self, ref: BlobRef) -> Path:
        return self.path(ref).with_name(self.path(ref).name + ".about.json")

    def _same(self, ref: BlobRef, etag: str | None) -> BlobProperties:
        found = self.properties(ref)
        if etag is not None and found.etag != etag:
            raise BlobChanged(f"{ref} has ETag {found.etag}, not {etag}.")
        return found


class ListPublisher:
    """A ``Publisher`` that remembers what it was given."""

    def __init__(self) -> None:
        self.published: list[Publication] = []
        self.token: PublicationToken | None = None

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
        self.published.extend(publications)
        self.token = token
        return [str(publication.item["id"]) for publication in publications]


@dataclasses.dataclass
class PlainContext:
    """A ``TaskContext`` without a worker: counts checkpoints, never loses its lease."""

    store: FolderStore
    scratch: Path
    publisher: ListPublisher = dataclasses.field(default_factory=ListPublisher)
    run_id: RunId = RUN
    token: PublicationToken = TOKEN
    threads: int = 1
    access_life_s: int = 3600
    shrink: int = 0
    cache_bytes: int = 64 * 1024**2
    log: structlog.typing.FilteringBoundLogger = dataclasses.field(default_factory=structlog.get_logger)
    checkpoints: int = 0
    reports: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def checkpoint(self) -> None:
        self.checkpoints += 1

    def report(self, *, done: int, total: int) -> None:
        self.reports.append((done, total))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "blobs")


@pytest.fixture
def ctx(store: FolderStore, tmp_path: Path) -> PlainContext:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return PlainContext(store=store, scratch=scratch)


@pytest.fixture
def sources(ctx: PlainContext, tmp_path: Path) -> Sources:
    """Of a mosaic, to be added."""
    return Sources(ctx, tmp_path)
