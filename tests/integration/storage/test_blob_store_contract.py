"""What every BlobStore does. Implementations are listed in conftest.py (``store``)."""

import datetime as dt
import os
import urllib.error
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geoetl.models.refs import BlobRef
from geoetl.storage.base import BlobChanged, BlobExists, BlobNotFound, BlobStore

AWKWARD_PATHS = [
    "plain.tif",
    "folder/with space/a b.tif",
    "grün/日本.tif",
    "50%25 done#1?.tif",
    "a+b&c=d,e;f.tif",
    "x:y.tif",
]
CONTENT = bytes(range(256)) * 4


@pytest.fixture
def blob(store: BlobStore, container: str) -> BlobRef:
    ref = BlobRef.of("silver", container, "folder/blob.bin")
    store.upload(ref, CONTENT, content_type="application/octet-stream")
    return ref


@pytest.mark.parametrize("path", AWKWARD_PATHS)
def test_blob_comes_back_under_any_path(store: BlobStore, container: str, tmp_path: Path, path: str):
    ref = BlobRef.of("silver", container, path)
    written = store.upload(ref, CONTENT, content_type="image/tiff", metadata={"sha256": "abc"})

    assert store.properties(ref) == written
    assert (written.ref, written.size_bytes, written.content_type) == (ref, len(CONTENT), "image/tiff")
    assert written.metadata == {"sha256": "abc"}
    assert '"' not in written.etag
    assert dt.datetime.now(dt.UTC) - written.last_modified < dt.timedelta(minutes=5)
    assert store.download(ref, tmp_path / "copy") == written
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert [found.ref for found in store.list("silver", container)] == [ref]


def test_missing_blob_and_missing_container_are_told_apart(store: BlobStore, container: str, tmp_path: Path):
    no_blob = BlobRef.of("silver", container, "no/such.tif")
    no_container = BlobRef.of("silver", "no-such-container", "a.tif")
    for ref, code, words in ((no_blob, "blob-missing", no_blob), (no_container, "container-missing", "no-such-con")):
        for read in (
            lambda ref=ref: store.properties(ref),
            lambda ref=ref: store.read_range(ref, offset=0, length=1),
            lambda ref=ref: store.download(ref, tmp_path / "x"),
        ):
            with pytest.raises(BlobNotFound, match=words) as caught:
                read()
            assert caught.value.code == code
    with pytest.raises(BlobNotFound, match="no-such-container"):
        store.upload(no_container, b"", content_type="image/tiff")
    with pytest.raises(BlobNotFound, match="no-such-container"):
        list(store.list("silver", "no-such-container"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 10, CONTENT[:10]), (1000, 100, CONTENT[1000:]), (1024, 1, b""), (5000, 5, b""), (7, 0, b"")],
)
def test_range_is_cut_at_the_end(store: BlobStore, blob: BlobRef, offset: int, length: int, expected: bytes):
    assert store.read_range(blob, offset=offset, length=length) == expected


def test_empty_blob_can_be_written_and_read(store: BlobStore, container: str, tmp_path: Path):
    ref = BlobRef.of("silver", container, "empty.bin")
    assert store.upload(ref, b"", content_type="image/tiff").size_bytes == 0
    assert store.read_range(ref, offset=0, length=10) == b""
    store.download(ref, tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


def test_replaced_blob_is_refused_by_its_old_etag(store: BlobStore, blob: BlobRef, tmp_path: Path):
    old = store.properties(blob).etag
    assert store.read_range(blob, offset=0, length=4, etag=old) == CONTENT[:4]
    new = store.upload(blob, b"other", content_type="text/plain", overwrite=True).etag
    assert new != old

    with pytest.raises(BlobChanged, match=r"blob\.bin"):
        store.read_range(blob, offset=0, length=4, etag=old)
    with pytest.raises(BlobChanged):
        store.download(blob, tmp_path / "copy", etag=old)
    assert list(tmp_path.iterdir()) == []
    assert store.download(blob, tmp_path / "copy", etag=new).size_bytes == 5


def test_upload_does_not_overwrite_unless_asked(store: BlobStore, blob: BlobRef, tmp_path: Path):
    big = tmp_path / "big"
    big.write_bytes(bytes(9 * 1024 * 1024))
    for source in (b"other", big):
        with pytest.raises(BlobExists, match=r"blob\.bin"):
            store.upload(blob, source, content_type="text/plain")
    assert store.read_range(blob, offset=0, length=2000) == CONTENT


def test_of_two_simultaneous_uploads_one_wins(store: BlobStore, container: str):
    ref = BlobRef.of("silver", container, "raced.bin")

    def upload(number: int) -> int | None:
        try:
            store.upload(ref, bytes([number]), content_type="text/plain")
        except BlobExists:
            return None
        return number

    with ThreadPoolExecutor(4) as pool:
        winners = [number for number in pool.map(upload, range(4)) if number is not None]
    assert len(winners) == 1
    assert store.read_range(ref, offset=0, length=1) == bytes(winners)


def test_blob_of_many_blocks_survives_both_ways(store: BlobStore, container: str, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(30 * 1024 * 1024 + 17))
    ref = BlobRef.of("silver", container, "thirty.bin")
    assert store.upload(ref, source, content_type="image/tiff").size_bytes == source.stat().st_size
    store.download(ref, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "source"]


def test_list_is_limited_to_the_prefix_and_sorted(store: BlobStore, container: str):
    for path in ("b/2", "a/1", "b/1", "c"):
        store.upload(BlobRef.of("silver", container, path), b"x", content_type="text/plain")
    assert [found.ref.path for found in store.list("silver", container, "b/")] == ["b/1", "b/2"]
    assert [found.ref.path for found in store.list("silver", container)] == ["a/1", "b/1", "b/2", "c"]
    assert list(store.list("silver", container, "z")) == []


def test_delete_says_whether_there_was_one(store: BlobStore, blob: BlobRef):
    assert store.delete(blob) is True
    assert store.delete(blob) is False
    with pytest.raises(BlobNotFound):
        store.properties(blob)


def test_container_can_be_ensured_twice(store: BlobStore, container: str):
    store.ensure_container("silver", container)
    assert list(store.list("silver", container)) == []


def test_href_holds_no_secret_and_signed_href_opens_this_blob_only(
    store: BlobStore, blob: BlobRef, fetch: Callable[[str], bytes], container: str
):
    plain, signed = store.href(blob), store.signed_href(blob, life_s=60)
    assert "?" not in plain
    assert signed.startswith(plain + "?")
    assert fetch(signed) == CONTENT
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(plain)
    assert refused.value.code in {401, 403, 404, 409}
    other = BlobRef.of("silver", container, "other.bin")
    store.upload(other, b"x", content_type="text/plain")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        fetch(store.href(other) + "?" + signed.partition("?")[2])


def test_signed_href_expires(store: BlobStore, blob: BlobRef, fetch: Callable[[str], bytes]):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        fetch(store.signed_href(blob, life_s=-1))


@pytest.mark.parametrize("path", AWKWARD_PATHS)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_gdal_reads_the_blob_it_was_given_access_to(store: BlobStore, container: str, tmp_path: Path, path: str):
    pixels = np.arange(4096, dtype="uint16").reshape(1, 64, 64)
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=64, height=64, count=1, dtype="uint16") as dst:
        dst.write(pixels)
    ref = BlobRef.of("silver", container, path)
    store.upload(ref, tmp_path / "a.tif", content_type="image/tiff")
    store.upload(BlobRef.of("silver", container, "secret.tif"), tmp_path / "a.tif", content_type="image/tiff")

    access = store.gdal_access(ref, life_s=60)
    assert "sig=" not in access.path
    with rasterio.Env(**access.options):
        with rasterio.open(access.path) as src:
            assert np.array_equal(src.read(), pixels)
        with pytest.raises(rasterio.RasterioIOError):
            rasterio.open(access.path.removesuffix(path) + "secret.tif")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_gdal_reads_several_blobs_at_once_and_no_other(store: BlobStore, container: str, tmp_path: Path):
    refs = [BlobRef.of("silver", container, path) for path in AWKWARD_PATHS]
    for number, ref in enumerate(refs):
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", width=64, height=64, count=1, dtype="uint16"
        ) as dst:
            dst.write(np.full((1, 64, 64), number, dtype="uint16"))
        store.upload(ref, tmp_path / "a.tif", content_type="image/tiff")
    store.upload(BlobRef.of("silver", container, "secret.tif"), tmp_path / "a.tif", content_type="image/tiff")

    access = store.gdal_access_to(refs, life_s=60)

    with rasterio.Env(**access.options):
        for number, path in enumerate(access.paths):
            with rasterio.open(path) as src:
                assert (src.read() == number).all()
        address, _, signature = access.paths[0].partition("?")
        with pytest.raises(rasterio.RasterioIOError):
            rasterio.open(f"{address.partition(container)[0]}{container}/secret.tif?{signature}")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_gdal_sees_a_replaced_blob(store: BlobStore, container: str, tmp_path: Path):
    ref = BlobRef.of("silver", container, "replaced.tif")
    for size in (16, 48):
        with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=size, height=size, count=1, dtype="uint8"):
            pass
        store.upload(ref, tmp_path / "a.tif", content_type="image/tiff", overwrite=True)
        access = store.gdal_access(ref, life_s=60)
        with rasterio.Env(**access.options), rasterio.open(access.path) as src:
            assert src.width == size
