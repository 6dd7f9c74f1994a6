"""The item of a product: complete, valid, and without a token."""

import datetime as dt
import json
from pathlib import Path

import pystac
import pytest

from geoetl.errors import SystemFault
from geoetl.tasks.stac.catalogue import validate_item
from geoetl.tasks.stac.items import build_item

GOLDEN = Path(__file__).parents[2] / "golden" / "item.json"


class Hrefs:
    """The one method of a ``BlobStore`` that items need."""

    def href(self, ref):
        return f"https://{ref.tier}.blob.example.net/{ref.container}/{ref.path}"


def item_of(item_input):
    return build_item(
        item_input,
        collection="demo",
        store=Hrefs(),
        job_id="3b0f",
        run_id="5f0c3d9e",
        software="geoetl 0.1.0",
        processed_at=dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC),
    )


def test_item_is_the_golden_one(item_input):
    assert item_of(item_input) == json.loads(GOLDEN.read_text())


def test_item_is_valid_stac_for_two_implementations(item_input):
    document = item_of(item_input)
    validate_item(document)
    again = pystac.Item.from_dict(document)
    assert again.collection_id == "demo"
    assert again.stac_extensions == document["stac_extensions"]


def test_a_broken_item_is_a_fault_of_ours(item_input):
    document = item_of(item_input)
    document["properties"]["datetime"] = "yesterday"
    with pytest.raises(SystemFault, match=r"'bahamas'.*datetime"):
        validate_item(document)


def test_start_and_end_replace_the_instant(item_input):
    span = {"datetime": None, "start_datetime": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
            "end_datetime": dt.datetime(2024, 2, 1, tzinfo=dt.UTC)}  # fmt: skip
    inspected = item_input.inspected.model_copy(update=span)
    properties = item_of(item_input.model_copy(update={"inspected": inspected}))["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] == "2024-01-01T00:00:00Z"
    assert properties["end_datetime"] == "2024-02-01T00:00:00Z"


def test_statistics_of_the_source_are_not_told_of_a_reprojection(item_input):
    product = item_input.product.model_copy(update={"is_reprojected": True})
    item = item_of(item_input.model_copy(update={"product": product}))
    assert "statistics" not in item["assets"]["data"]["bands"][0]
    assert "reprojected to EPSG:32618" in item["properties"]["processing:lineage"]


def test_a_crs_without_a_code_is_told_as_wkt(item_input, facts_of):
    facts = facts_of(*item_input.product.facts.bands, crs="+proj=laea +lat_0=45 +lon_0=-100 +datum=WGS84")
    product = item_input.product.model_copy(update={"facts": facts})
    properties = item_of(item_input.model_copy(update={"product": product}))["properties"]
    assert properties["proj:code"] is None
    assert properties["proj:wkt2"].startswith("PROJCRS[")
