"""What every BlockStore does. Implementations are listed in conftest.py (``store``)."""

import random

import pytest

from geoetl.models.refs import BlobRef
from geoetl.storage.base import BlobChanged, BlobExists, BlobNotFound, BlobStore


@pytest.fixture
def target(container: str) -> BlobRef:
    return BlobRef.of("silver", container, "grün/many blocks.tif")


def staged(store: BlobStore, ref: BlobRef) -> dict[str, int]:
    return {block.id: block.size_bytes for block in store.staged_blocks(ref)}


def test_nothing_is_staged_where_nothing_was(store: BlobStore, target: BlobRef):
    assert store.staged_blocks(target) == []


def test_staged_blocks_are_listed_and_are_no_blob(store: BlobStore, target: BlobRef):
    store.stage_block(target, "block-1", b"a" * 10)
    store.stage_block(target, "block-2", b"b" * 20)

    assert staged(store, target) == {"block-1": 10, "block-2": 20}
    with pytest.raises(BlobNotFound):
        store.properties(target)
    assert list(store.list("silver", target.container)) == []


def test_the_same_id_again_replaces_a_block(store: BlobStore, target: BlobRef):
    store.stage_block(target, "block-1", b"old and longer")
    store.stage_block(target, "block-1", b"new")

    assert staged(store, target) == {"block-1": 3}
    store.commit_blocks(target, ["block-1"], content_type="image/tiff")
    assert store.read_range(target, offset=0, length=20) == b"new"


def test_the_order_of_the_commit_counts_not_that_of_the_uploads(store: BlobStore, target: BlobRef):
    blocks = {f"{number:030d}": bytes([number % 256]) * (number + 1) for number in range(120)}
    names = list(blocks)
    random.Random(5).shuffle(names)
    for name in names:
        store.stage_block(target, name, blocks[name])
    store.stage_block(target, f"{999:030d}", b"is not wanted")

    written = store.commit_blocks(target, list(blocks), content_type="image/tiff", metadata={"run": "r"})

    content = b"".join(blocks.values())
    assert store.read_range(target, offset=0, length=len(content) + 1) == content
    assert (written.size_bytes, written.content_type, written.metadata) == (len(content), "image/tiff", {"run": "r"})
    assert store.properties(target) == written
    assert store.staged_blocks(target) == []


def test_a_missing_block_is_refused_and_leaves_the_others(store: BlobStore, target: BlobRef):
    store.stage_block(target, "block-1", b"a")

    with pytest.raises(BlobChanged, match="not staged") as caught:
        store.commit_blocks(target, ["block-1", "block-2"], content_type="image/tiff")

    assert caught.value.code == "blocks-missing"
    assert staged(store, target) == {"block-1": 1}


def test_a_blob_that_is_there_is_not_replaced_by_blocks(store: BlobStore, target: BlobRef):
    store.stage_block(target, "block-1", b"first")
    store.commit_blocks(target, ["block-1"], content_type="image/tiff")
    store.stage_block(target, "block-2", b"late")

    with pytest.raises(BlobExists):
        store.commit_blocks(target, ["block-2"], content_type="image/tiff")

    assert store.read_range(target, offset=0, length=20) == b"first"


def test_blocks_in_a_missing_container_are_refused_by_its_name(store: BlobStore):
    ref = BlobRef.of("silver", "no-such-container", "a.tif")
    with pytest.raises(BlobNotFound, match="no-such-container"):
        store.stage_block(ref, "block-1", b"a")
    with pytest.raises(BlobNotFound, match="no-such-container"):
        store.staged_blocks(ref)
