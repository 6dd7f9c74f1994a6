"""Many items at once are stored exactly as pgSTAC's own functions store them."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg.types.json import Jsonb, set_json_dumps, set_json_loads
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods

from geoetl.config import DatabaseTarget
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import Connection, ConnectionSource, connect
from geoetl.db.items import CollectionNotFound, lock_collection, pgstac_session
from geoetl.db.loading import load_items, stored_assets
from geoetl.errors import InvalidInput
from geoetl.models.catalogue import CollectionDefinition

# pypgstac replaces psycopg's JSON functions for the whole process.
set_json_dumps(json.dumps)
set_json_loads(json.loads)


def item(number: int, *, collection: str = "scenes", **properties: Any) -> dict[str, Any]:
    lon, lat = -170 + number % 340, -80 + number % 160
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": f"item-{number}", "collection": collection,
        "stac_extensions": ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        "geometry": {"type": "Polygon", "coordinates": [
            [[lon, lat], [lon + 1, lat], [lon + 1, lat + 1], [lon, lat + 1], [lon, lat]]]},
        "bbox": [lon, lat, lon + 1, lat + 1], "links": [],
        "properties": {"datetime": f"2024-0{1 + number % 9}-01T00:00:00Z", "proj:code": "EPSG:4326", **properties},
        "assets": {"data": {"href": f"https://silver.example/{number}.tif", "type": "image/tiff", "roles": ["data"]}},
    }  # fmt: skip


def odd_items() -> list[dict[str, Any]]:
    """What may go wrong on the way: ranges, other geometries, unusual text and numbers."""
    kinds: list[dict[str, Any]] = [
        {"type": "Point", "coordinates": [1.5, 2.5]},
        {"type": "MultiPolygon", "coordinates": [[[[179, 0], [180, 0], [180, 1], [179, 0]]],
                                                 [[[-180, 0], [-179, 0], [-180, 1], [-180, 0]]]]},
        {"type": "Polygon", "coordinates": [[[0, 0, 10], [1, 0, 10], [1, 1, 10], [0, 0, 10]]]},
    ]  # fmt: skip
    made = [{**item(900 + index), "geometry": geometry} for index, geometry in enumerate(kinds)]
    made.append(
        item(
            910,
            datetime=None,
            start_datetime="2024-01-01T00:00:00.123456Z",
            end_datetime="2024-12-31T00:00:00+02:00",
        )
    )
    made.append(item(911, title='tab\t, quote ", back\\slash \\N, Zürich 日本', empty={}, nothing=None, tiny=1e-300))
    return made


def stored(connection: Connection, collection: str) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT id, datetime, end_datetime, geometry::text, content FROM pgstac.items WHERE collection = %s"
        " ORDER BY id",
        [collection],
    ).fetchall()


def load(source: ConnectionSource, items: Sequence[dict[str, Any]], collection: str = "scenes") -> None:
    connection = source()
    with connection.transaction():
        lock_collection(connection, collection, timeout_s=60)
        load_items(connection, collection, items)


@pytest.fixture
def catalogue(business: ConnectionSource) -> Catalogue:
    catalogue = Catalogue(business)
    for name in ("scenes", "reference"):
        catalogue.create_collection(CollectionDefinition(id=name, description="For tests."))
    return catalogue


def test_they_are_stored_as_pypgstac_stores_them(
    catalogue: Catalogue, business: ConnectionSource, business_db: DatabaseTarget
):
    items = [*(item(number) for number in range(50)), *odd_items()]
    load(business, items)
    with connect(business_db, application_name="pypgstac") as connection:
        connection.execute("SET search_path TO pgstac, public")
        loader = Loader(PgstacDB(connection=connection))
        loader.load_items(iter([{**each, "collection": "reference"} for each in items]), Methods.upsert)
    for ours, theirs in zip(stored(business(), "scenes"), stored(business(), "reference"), strict=True):
        assert ours == theirs
    for each in items:
        found = catalogue.get_item("scenes", each["id"])
        assert (found["assets"], found["bbox"], found["geometry"]) == (each["assets"], each["bbox"], each["geometry"])
    assert len(catalogue.search_ids("scenes", [each["id"] for each in items])) == len(items)
    assert catalogue.get_collection("scenes")["extent"]["temporal"]["interval"][0][1] == "2024-12-30T22:00:00+00:00"


def test_a_second_load_replaces_and_an_equal_one_changes_nothing(catalogue: Catalogue, business: ConnectionSource):
    load(business, [item(number) for number in range(10)])
    before = stored(business(), "scenes")
    load(business, [item(number) for number in range(10)])
    assert stored(business(), "scenes") == before
    load(business, [item(3, datetime="2020-01-01T00:00:00Z", title="moved")])
    assert len(stored(business(), "scenes")) == 10
    assert catalogue.get_item("scenes", "item-3")["properties"]["title"] == "moved"
    found = catalogue.search({"collections": ["scenes"], "datetime": "2020-01-01T00:00:00Z"})
    assert [each["id"] for each in found["features"]] == ["item-3"]


def test_what_items_share_is_not_stored_with_each(
    catalogue: Catalogue, business: ConnectionSource, business_owner_db: DatabaseTarget
):
    content = catalogue.get_collection("scenes")
    content["item_assets"] = {"data": {"type": "image/tiff", "roles": ["data"]}, "other": {"type": "image/png"}}
    with (
        connect(business_owner_db, application_name="tests") as owner,
        owner.transaction(),
        pgstac_session(owner),
    ):
        owner.execute("SET LOCAL ROLE pgstac_admin")
        owner.execute("SELECT pgstac.update_collection(%s)", [Jsonb(content)])
    load(business, [item(1)])
    assert "roles" not in stored(business(), "scenes")[0][4]["assets"]["data"]
    assert catalogue.get_item("scenes", "item-1")["assets"] == item(1)["assets"]
    ((_, assets),) = stored_assets(business(), "scenes", ["item-1"])
    assert assets == {"data": {"href": item(1)["assets"]["data"]["href"]}}


def test_a_collection_that_others_partitioned_by_month_is_loaded_too(business: ConnectionSource):
    content = {
        "type": "Collection", "id": "monthly", "stac_version": "1.1.0", "description": "d", "license": "other",
        "links": [], "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }  # fmt: skip
    with business().transaction(), pgstac_session(business()):
        business().execute("SELECT pgstac.create_collection(%s)", [Jsonb(content)])
        business().execute("UPDATE pgstac.collections SET partition_trunc = 'month' WHERE id = 'monthly'")
    load(business, [item(number, collection="monthly") for number in range(20)], "monthly")
    assert len(stored(business(), "monthly")) == 20


def test_nothing_is_seen_of_a_load_that_is_rolled_back(catalogue: Catalogue, business: ConnectionSource):
    with business().transaction(force_rollback=True):
        load_items(business(), "scenes", [item(1)])
    assert stored(business(), "scenes") == []


def test_readers_are_not_held_up(catalogue: Catalogue, business: ConnectionSource, business_db: DatabaseTarget):
    load(business, [item(1)])
    with business().transaction():
        load_items(business(), "scenes", [item(number) for number in range(100)])
        other = ConnectionSource(business_db, application_name="reader")
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(lambda: Catalogue(other).search({"collections": ["scenes"], "limit": 10})).result(10)
        other.close()
    assert [each["id"] for each in found["features"]] == ["item-1"]


def test_four_writers_into_one_collection_lose_nothing(business_db: DatabaseTarget, catalogue: Catalogue):
    def write(first: int) -> None:
        source = ConnectionSource(business_db, application_name=f"writer {first}")
        for start in range(first, first + 2000, 1000):
            load(source, [item(number) for number in range(start, start + 1000)])
        source.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(0, 8000, 2000)))

    (summary,) = [each for each in catalogue.list_collections() if each.id == "scenes"]
    assert summary.item_count == 8000


def test_an_unknown_collection_and_a_double_id_are_refused(catalogue: Catalogue, business: ConnectionSource):
    with pytest.raises(CollectionNotFound):
        load(business, [item(1, collection="nowhere")], "nowhere")
    with pytest.raises(InvalidInput, match="more than once"):
        load(business, [item(1), item(1)])
