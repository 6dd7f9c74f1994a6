from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from geoetl.db.catalogue import Catalogue, CollectionExists, CollectionSummary, ItemNotFound
from geoetl.db.connections import ConnectionSource, DatabaseUnavailable, database_errors
from geoetl.db.items import CollectionNotFound, delete_items, lock_collection, search_ids, upsert_items
from geoetl.errors import InvalidInput
from geoetl.models.catalogue import CollectionDefinition


@pytest.fixture
def catalogue(business: ConnectionSource) -> Catalogue:
    catalogue = Catalogue(business)
    catalogue.create_collection(CollectionDefinition(id="scenes", description="For tests."))
    return catalogue


def item(name: str, *, west: float = 10.0, when: str = "2024-05-01T00:00:00Z", **properties: Any) -> dict[str, Any]:
    south, east, north = 40.0, west + 1, 41.0
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "collection": "scenes",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {"datetime": when, **properties},
        "assets": {"data": {"href": f"https://blobs.example/{name}.tif", "roles": ["data"]}},
        "links": [],
    }


def load(business: ConnectionSource, *items: dict[str, Any]) -> None:
    with business().transaction():
        lock_collection(business(), "scenes", timeout_s=10)
        upsert_items(business(), "scenes", items)


def test_a_created_collection_can_be_shown_and_listed(catalogue: Catalogue):
    stored = catalogue.create_collection(
        CollectionDefinition(id="dem", description="Heights.", title="DEM", keywords=("heights",), license="CC0-1.0")
    )
    assert catalogue.get_collection("dem") == stored
    assert (stored["stac_version"], stored["license"], stored["keywords"]) == ("1.1.0", "CC0-1.0", ["heights"])
    assert catalogue.list_collections() == [
        CollectionSummary(id="dem", title="DEM", item_count=0),
        CollectionSummary(id="scenes", title="", item_count=0),
    ]


def test_a_collection_that_exists_is_not_replaced(catalogue: Catalogue):
    with pytest.raises(CollectionExists, match="'scenes' exists already"):
        catalogue.create_collection(CollectionDefinition(id="scenes", description="Another."))
    assert catalogue.get_collection("scenes")["description"] == "For tests."


def test_a_missing_collection_is_named_with_what_to_do(catalogue: Catalogue):
    assert not catalogue.has_collection("nowhere")
    with pytest.raises(CollectionNotFound, match="geoetl collection create nowhere"):
        catalogue.get_collection("nowhere")


def test_a_stored_item_comes_back_whole(catalogue: Catalogue, business: ConnectionSource):
    stored = item("a", gsd=10.5)
    load(business, stored)
    assert catalogue.get_item("scenes", "a") == stored
    [found] = catalogue.search_ids("scenes", ["a"])
    assert found["assets"] == stored["assets"]
    assert found["properties"] == stored["properties"]


def test_a_search_in_the_same_transaction_finds_the_items_and_readers_neither_see_them_nor_wait(
    catalogue: Catalogue, business: ConnectionSource
):
    with business().transaction():
        # The first load of a collection, which in plain pgSTAC locks all searches out until its end.
        upsert_items(business(), "scenes", [item("a"), item("b")])
        assert {found["id"] for found in search_ids(business(), "scenes", ["a", "b", "c"])} == {"a", "b"}
        with ThreadPoolExecutor(1) as other_thread:
            assert other_thread.submit(catalogue.search_ids, "scenes", ["a"]).result() == []
    assert len(catalogue.search_ids("scenes", ["a", "b"])) == 2


def test_a_rolled_back_transaction_leaves_no_item(catalogue: Catalogue, business: ConnectionSource):
    with business().transaction(force_rollback=True):
        upsert_items(business(), "scenes", [item("a")])
    with pytest.raises(ItemNotFound, match="has no item 'a'"):
        catalogue.get_item("scenes", "a")


def test_storing_again_replaces_the_item_even_at_another_time(catalogue: Catalogue, business: ConnectionSource):
    load(business, item("a", when="2024-01-01T00:00:00Z"))
    load(business, item("a", when="2025-06-01T00:00:00Z"))
    [found] = catalogue.search_ids("scenes", ["a"])
    assert found["properties"]["datetime"] == "2025-06-01T00:00:00Z"
    assert catalogue.list_collections()[0].item_count == 1


def test_the_extent_follows_the_items(catalogue: Catalogue, business: ConnectionSource):
    load(business, item("a", west=10.0, when="2024-01-01T00:00:00Z"))
    load(business, item("b", west=20.0, when="2024-03-01T00:00:00Z"))
    extent = catalogue.get_collection("scenes")["extent"]
    assert extent["spatial"]["bbox"] == [[10.0, 40.0, 21.0, 41.0]]
    assert extent["temporal"]["interval"] == [["2024-01-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00"]]
    with business().transaction():
        assert delete_items(business(), "scenes", ["b", "never-there"]) == ["b"]
    assert catalogue.get_collection("scenes")["extent"]["spatial"]["bbox"] == [[10.0, 40.0, 11.0, 41.0]]


def test_the_transactions_own_settings_are_left_as_they_were(catalogue: Catalogue, business: ConnectionSource):
    with business().transaction():
        business().execute("SET LOCAL search_path TO pg_catalog")
        business().execute("SET LOCAL timezone TO 'Asia/Tokyo'")
        upsert_items(business(), "scenes", [item("a")])
        shown = business().execute("SELECT current_setting('search_path'), current_setting('timezone')").fetchone()
    assert shown == ("pg_catalog", "Asia/Tokyo")


def test_items_for_a_collection_that_does_not_exist_are_refused(catalogue: Catalogue, business: ConnectionSource):
    stray = {**item("a"), "collection": "nowhere"}
    with pytest.raises(CollectionNotFound, match="no collection 'nowhere'"), business().transaction():
        upsert_items(business(), "nowhere", [stray])


def test_an_item_of_another_collection_is_refused(catalogue: Catalogue, business: ConnectionSource):
    with pytest.raises(InvalidInput, match="name another one: a"), business().transaction():
        upsert_items(business(), "scenes", [{**item("a"), "collection": "dem"}])


def test_two_items_of_one_id_are_refused_instead_of_one_being_lost(catalogue: Catalogue, business: ConnectionSource):
    with pytest.raises(InvalidInput, match="given more than once: a"), business().transaction():
        upsert_items(business(), "scenes", [item("a"), item("b"), item("a")])


def test_a_second_writer_waits_for_the_first_no_longer_than_told(catalogue: Catalogue, business: ConnectionSource):
    def second() -> None:
        with database_errors("lock the collection"), business().transaction():
            lock_collection(business(), "scenes", timeout_s=0.1)

    with business().transaction(), ThreadPoolExecutor(1) as other_thread:
        lock_collection(business(), "scenes", timeout_s=0.1)
        with pytest.raises(DatabaseUnavailable, match="Could not lock the collection"):
            other_thread.submit(second).result()


def test_writers_that_take_turns_lose_nothing(catalogue: Catalogue, business: ConnectionSource):
    def write(writer: int) -> None:
        for batch in range(3):
            names = [f"{writer}-{batch}-{number}" for number in range(20)]
            load(business, *(item(name, when=f"2024-0{batch + 1}-0{writer + 1}T00:00:00Z") for name in names))

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    assert catalogue.list_collections()[0].item_count == 4 * 3 * 20


def test_a_search_that_cannot_be_read_is_the_asker_s_to_mend(catalogue: Catalogue):
    with pytest.raises(InvalidInput, match=r'"banana"') as caught:
        catalogue.search({"datetime": "banana"})

    assert caught.value.code == "bad-search"
    assert "RFC 3339" in caught.value.hint
