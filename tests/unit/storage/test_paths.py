import pytest

from geoetl.models.refs import BlobRef, RunId
from geoetl.storage.paths import attempt_ref, cog_ref, run_prefix, thumbnail_ref

RUN = RunId("0198c5d2a1")


def test_cog_path_names_collection_item_and_run():
    assert cog_ref("products", "scenes", "a-1", RUN) == "silver://products/scenes/a-1/0198c5d2a1/a-1.tif"


def test_two_runs_never_share_a_path():
    assert cog_ref("products", "scenes", "a", RUN) != cog_ref("products", "scenes", "a", RunId("0198c5d2a2"))


def test_attempts_of_one_task_never_share_a_path():
    first, second = (cog_ref("products", "scenes", "a", RUN, attempt=attempt) for attempt in (1, 2))
    assert first == "silver://products/scenes/a/0198c5d2a1/1/a.tif"
    assert second == attempt_ref(cog_ref("products", "scenes", "a", RUN), 2)


def test_thumbnail_lies_beside_its_cog():
    assert thumbnail_ref(BlobRef("silver://products/x/a.b.tif")) == "silver://products/x/a.b.thumbnail.png"
    assert thumbnail_ref(BlobRef("silver://products/a.tif")) == "silver://products/a.thumbnail.png"


def test_everything_of_a_run_is_under_its_prefix():
    prefix = run_prefix("scenes", "a", RUN)
    cog = cog_ref("products", "scenes", "a", RUN, attempt=3)
    assert cog.path.startswith(prefix)
    assert thumbnail_ref(cog).path.startswith(prefix)


@pytest.mark.parametrize("collection", ["", "../other", "a/../b"])
def test_path_cannot_leave_its_container(collection: str):
    with pytest.raises(ValueError, match="path"):
        cog_ref("products", collection, "a", RUN)
