"""Every validator, on a real store and a real catalogue: what is accepted, what is found, what cannot be known."""

import uuid
from collections.abc import Generator
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from geoetl.config import DatabaseTarget
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import ConnectionSource, connect
from geoetl.db.items import upsert_items
from geoetl.db.tables import PublishedTables
from geoetl.errors import Finding
from geoetl.models.catalogue import CollectionDefinition
from geoetl.models.refs import BlobRef
from geoetl.preflight import blobs, collections, tables
from geoetl.preflight.checks import CannotCheckNow, Check, Services
from geoetl.preflight.runner import run_checks
from geoetl.storage.azure import AzureBlobStore
from geoetl.storage.azure_account import TierAccess


class Spec(BaseModel):
    blob: BlobRef | None = None
    blobs: tuple[BlobRef, ...] = ()
    collection: str = "scenes"
    item: str | None = None
    items: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    overwrite: bool = False


@dataclass(frozen=True)
class World:
    services: Services
    folder: str

    def findings(self, check: Check, **given: object) -> list[Finding]:
        report = run_checks([check], Spec.model_validate(given), self.services)
        assert report.unchecked == ()
        return list(report.findings)

    def codes(self, check: Check, **given: object) -> list[tuple[str, str]]:
        found = self.findings(check, **given)
        assert all(finding.hint for finding in found)
        return [(finding.parameter, finding.code) for finding in found]


@pytest.fixture
def world(azurite: str, business_db: DatabaseTarget, business_owner_db: DatabaseTarget) -> Generator[World]:
    """One blob of 5 bytes, one collection with one item, one published table."""
    folder = f"bronze://bronze/validators-{uuid.uuid4().hex[:8]}"
    store = AzureBlobStore({"bronze": TierAccess(connection_string=azurite)}, retries=0)
    store.upload(BlobRef(f"{folder}/a.tif"), b"12345", content_type="image/tiff")
    source = ConnectionSource(business_db, application_name="tests")
    Catalogue(source).create_collection(CollectionDefinition(id="scenes", description="For tests."))
    item = {
        "type": "Feature", "stac_version": "1.1.0", "id": "known", "collection": "scenes", "bbox": [1, 2, 1, 2],
        "geometry": {"type": "Point", "coordinates": [1, 2]}, "assets": {}, "links": [],
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
    }  # fmt: skip
    with source().transaction():
        upsert_items(source(), "scenes", [item])
    with connect(business_owner_db, application_name="tests") as owner:
        owner.execute("CREATE TABLE public.roads (id int)")
    services = Services(store=store, collections=Catalogue(source), tables=PublishedTables(source))
    yield World(services, folder)
    source.close()
    store.close()


def test_blob_exists(world: World):
    check = blobs.blob_exists("blob")
    assert world.codes(check, blob=f"{world.folder}/a.tif") == []
    assert world.codes(check, blob=f"{world.folder}/b.tif") == [("blob", "blob-missing")]
    assert world.codes(check) == []


def test_blob_exists_takes_lists_and_reports_each(world: World):
    found = world.codes(blobs.blob_exists("blobs"), blobs=[f"{world.folder}/{name}.tif" for name in "abac"])
    assert found == [("blobs[1]", "blob-missing"), ("blobs[3]", "blob-missing")]


@pytest.mark.parametrize(
    ("limits", "codes"),
    [
        ({}, []),
        ({"min_bytes": 5, "max_bytes": 5}, []),
        ({"min_bytes": 6}, [("blobs[0]", "blob-too-small")]),
        ({"max_bytes": 4}, [("blobs[0]", "blob-too-large")]),
    ],
)
def test_blob_exists_with_size(limits: dict[str, int], codes: list[tuple[str, str]], world: World):
    assert world.codes(blobs.blob_exists_with_size("blobs", **limits), blobs=[f"{world.folder}/a.tif"]) == codes


def test_blob_not_exists(world: World):
    check = blobs.blob_not_exists("blobs", unless="overwrite")
    both = [f"{world.folder}/{name}.tif" for name in "ab"]
    assert world.codes(check, blobs=both) == [("blobs[0]", "blob-exists")]
    assert world.codes(check, blobs=both, overwrite=True) == []
    assert world.codes(check, blobs=["bronze://no-such-container/a"]) == [("blobs[0]", "container-missing")]


def test_collection_exists_and_not_exists(world: World):
    assert world.codes(collections.collection_exists("collection")) == []
    assert world.codes(collections.collection_exists("collection"), collection="x") == [
        ("collection", "collection-missing")
    ]
    assert world.codes(collections.collection_not_exists("collection"), collection="x") == []
    assert world.codes(collections.collection_not_exists("collection")) == [("collection", "collection-exists")]
    assert world.codes(collections.collection_not_exists("collection"), collection="a/b") == [
        ("collection", "id-invalid")
    ]


def test_stac_item_exists_and_not_exists(world: World):
    exists, not_exists = (
        collections.stac_item_exists("items"),
        collections.stac_item_not_exists("items", unless="overwrite"),
    )
    both = {"items": ["known", "unknown"]}
    assert world.codes(exists, **both) == [("items[1]", "item-missing")]
    assert world.codes(not_exists, **both) == [("items[0]", "item-exists")]
    assert world.codes(not_exists, **both, overwrite=True) == []
    assert world.codes(exists, items=["known"], collection="elsewhere") == [("items[0]", "item-missing")]
    assert world.codes(exists, items=["a/b"]) == [("items[0]", "id-invalid")]


def test_table_exists_and_not_exists(world: World):
    exists, not_exists = tables.table_exists("tables"), tables.table_not_exists("tables", unless="overwrite")
    names = {"tables": ["roads", "public.roads", "rivers", "other.roads"]}
    assert world.codes(exists, **names) == [("tables[2]", "table-missing"), ("tables[3]", "table-missing")]
    assert world.codes(not_exists, **names) == [("tables[0]", "table-exists"), ("tables[1]", "table-exists")]
    assert world.codes(not_exists, **names, overwrite=True) == []


@pytest.mark.parametrize("name", ["Roads", "1roads", "a.b.c", "roads; DROP TABLE x", "", "x" * 64])
def test_a_name_that_postgres_would_not_take_as_it_is_is_found(name: str, world: World):
    assert world.codes(tables.table_not_exists("tables"), tables=[name]) == [("tables[0]", "table-name-invalid")]


@pytest.mark.parametrize(
    "check",
    [
        collections.collection_exists("collection"),
        collections.collection_not_exists("collection"),
        collections.stac_item_exists("items"),
        collections.stac_item_not_exists("items"),
        tables.table_exists("tables"),
        tables.table_not_exists("tables"),
    ],
)
def test_a_database_that_is_away_is_cannot_check_now_never_missing(check: Check, world: World):
    nowhere = DatabaseTarget(host="/nowhere", dbname="x", user="x")
    source = ConnectionSource(nowhere, application_name="tests")
    away = Services(store=world.services.store, collections=Catalogue(source), tables=PublishedTables(source))
    report = run_checks([check], Spec(items=("a",), tables=("a",)), away)
    assert report.findings == ()
    with pytest.raises(CannotCheckNow):
        report.require_accepted()
