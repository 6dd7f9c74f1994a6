"""References to blobs."""

import pytest
from pydantic import TypeAdapter, ValidationError

from geoetl.models.refs import BlobRef


def test_a_reference_knows_its_parts():
    ref = BlobRef("bronze://in-box/2024/Scene 7.v2.tif")

    assert (ref.tier, ref.container, ref.path, ref.name, ref.stem) == (
        "bronze", "in-box", "2024/Scene 7.v2.tif", "Scene 7.v2.tif", "Scene 7.v2",
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        "", "a.tif", "/in/a.tif", "https://in-box/a.tif", "gold://in-box/a.tif", "bronze:/in-box/a.tif", "bronze://in-box",
        "bronze://in-box/", "bronze://ab/a.tif", "bronze://In-box/a.tif", "bronze://in--box/a.tif", "bronze://in-box/../a.tif",
        "bronze://in-box//a.tif", "bronze://in-box/a/", "bronze://in-box/a\n.tif", "bronze://in-box/" + "a" * 1025,
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(wrong):
    with pytest.raises(ValueError, match=r"bronze|path|container"):
        BlobRef(wrong)


def test_it_is_a_string_to_pydantic_and_json():
    adapter = TypeAdapter(BlobRef)

    assert adapter.dump_json(adapter.validate_python("silver://out-box/a.tif")) == b'"silver://out-box/a.tif"'
    with pytest.raises(ValidationError):
        adapter.validate_python("out-box/a.tif")
