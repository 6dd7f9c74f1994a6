import pytest

from geoetl.models.refs import BlobRef, RunId
from geoetl.storage.paths import attempt_ref, cog_ref, thumbnail_ref

RUN = RunId("0198c5d2a1")


def test_cog_path_names_collection_item_and_run():
    assert cog_ref("products", "scenes", "a-1", RUN) == "silver://products/scenes/a-1/0198c5d2a1/a-1.tif"


def test_two_runs_never_share_a_path():
    assert cog_ref("products", "scenes", "a", RUN) != cog_ref("products", "scenes", "a", RunId("0198c5d2a2"))


def test_attempts_of_one_task_never_share_a_path():
    target = BlobRef("silver://products/scenes/a.b/0198c5d2a1/a.b.tif")
    assert attempt_ref(target, 1) == target
    assert attempt_ref(target, 12) == "silver://products/scenes/a.b/0198c5d2a1/a.b.attempt12.tif"


def test_thumbnail_lies_beside_its_cog():
    assert thumbnail_ref(BlobRef("silver://products/x/a.b.tif")) == "silver://products/x/a.b.thumbnail.png"
    assert thumbnail_ref(BlobRef("silver://products/a.attempt2.tif")) == "silver://products/a.attempt2.thumbnail.png"
    assert thumbnail_ref(BlobRef("silver://products/a.tif")) == "silver://products/a.thumbnail.png"


@pytest.mark.parametrize("collection", ["", "../other", "a/../b"])
def test_path_cannot_leave_its_container(collection: str):
    with pytest.raises(ValueError, match="path"):
        cog_ref("products", collection, "a", RUN)
