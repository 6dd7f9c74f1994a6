"""Catalogue, ledger and store are compared, the catalogue is made anew, and the store swept: on real services."""

import datetime as dt
import uuid
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass

import pytest

from geoetl.config import DatabaseTarget
from geoetl.db.catalogue import Catalogue, ItemNotFound
from geoetl.db.connections import ConnectionSource, connect
from geoetl.db.items import CollectionNotFound, delete_items
from geoetl.errors import LeaseLost, SystemFault
from geoetl.models.catalogue import CollectionDefinition
from geoetl.models.publication import Publication, PublicationToken
from geoetl.models.refs import BlobRef, RunId
from geoetl.publication.audit import audit
from geoetl.publication.ledger import Superseded
from geoetl.publication.publish import PostgresPublisher
from geoetl.publication.rebuild import rebuild
from geoetl.publication.sweeper import SweptBlob, sweep
from geoetl.storage.azure import AzureBlobStore
from geoetl.storage.azure_account import TierAccess
from geoetl.storage.paths import attempt_ref, cog_ref, thumbnail_ref

LATER = dt.timedelta(days=30)


@dataclass
class Products:
    """Publishes products of a collection of its own, with real blobs."""

    store: AzureBlobStore
    connections: ConnectionSource
    collection: str
    sequence: int = 0

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.connections)

    def write(self, item_id: str, run: str, *, attempt: int = 1) -> BlobRef:
        ref = attempt_ref(cog_ref("silver", self.collection, item_id, RunId(run)), attempt)
        self.store.upload(ref, b"a COG", content_type="image/tiff")
        self.store.upload(thumbnail_ref(ref), b"a PNG", content_type="image/png")
        return ref

    def publish(self, *item_ids: str, attempt: int = 1) -> str:
        run, self.sequence = str(uuid.uuid4()), self.sequence + 1
        made = [self._publication(item_id, self.write(item_id, run, attempt=attempt)) for item_id in item_ids]
        PostgresPublisher(self.connections).publish(
            self.collection,
            made,
            run_id=RunId(run),
            job_id="job",
            token=PublicationToken(self.sequence, attempt),
            create_collection=True,
        )
        return run

    def _publication(self, item_id: str, ref: BlobRef) -> Publication:
        item: dict[str, object] = {
            "type": "Feature", "stac_version": "1.1.0", "id": item_id, "collection": self.collection,
            "geometry": {"type": "Point", "coordinates": [10.0, 50.0]}, "bbox": [10.0, 50.0, 10.0, 50.0],
            "properties": {"datetime": "2024-05-01T10:00:00Z"}, "links": [],
            "assets": {
                "data": {"href": self.store.href(ref)},
                "thumbnail": {"href": self.store.href(thumbnail_ref(ref))},
                "metadata": {"href": "https://elsewhere.example/about.json"},
            },
        }  # fmt: skip
        found = self.store.properties(ref)
        return Publication(item=item, artefact_uri=ref, etag=found.etag, size_bytes=found.size_bytes, sha256="0" * 64)

    def problems(self) -> list[tuple[str, str]]:
        found = list(audit(self.connections, self.store, collection=self.collection))
        assert all(each.hint for each in found)
        return [(each.kind, each.item_id) for each in found]

    def sweep(self, *, unfinished: Collection[str] = (), delete: bool = False, after: dt.timedelta = LATER):
        swept = sweep(
            self.store,
            self.connections,
            lambda runs: set(runs) & set(unfinished),
            container="silver",
            dry_run=not delete,
            now=dt.datetime.now(dt.UTC) + after,
        )
        return [each for each in swept if f"/{self.collection}/" in each.uri]


@pytest.fixture
def products(azurite: str, connections: ConnectionSource) -> Generator[Products]:
    access = TierAccess(connection_string=azurite)
    store = AzureBlobStore({"silver": access, "bronze": access}, retries=0)
    yield Products(store, connections, f"upkeep-{uuid.uuid4().hex[:8]}")
    store.close()


def names(swept: Sequence[SweptBlob]) -> set[str]:
    return {each.uri.rpartition("/")[2] for each in swept}


def test_what_was_published_fits_together(products: Products):
    products.publish("a", "b")
    assert products.problems() == []


def test_everything_that_does_not_fit_is_named(products: Products, connections: ConnectionSource):
    run = products.publish("lost-item", "lost-blob", "changed", "lost-thumbnail", "stranger")
    refs = {
        item: cog_ref("silver", products.collection, item, RunId(run))
        for item in ("lost-blob", "changed", "lost-thumbnail")
    }
    with connections().transaction():
        delete_items(connections(), products.collection, ["lost-item"])
    connections().execute(
        "UPDATE geoetl.artefact SET state = 'withdrawn' WHERE collection = %s AND item_id = 'stranger'",
        [products.collection],
    )
    products.store.delete(refs["lost-blob"])
    products.store.upload(refs["changed"], b"other bytes", content_type="image/tiff", overwrite=True)
    products.store.delete(thumbnail_ref(refs["lost-thumbnail"]))
    assert sorted(products.problems()) == [
        ("artefact-changed", "changed"),
        ("artefact-missing", "lost-blob"),
        ("artefact-without-item", "lost-item"),
        ("href-dead", "lost-thumbnail"),
        ("item-without-artefact", "stranger"),
    ]


def test_a_dropped_catalogue_is_made_anew_from_the_ledger(
    products: Products, business_owner_db: DatabaseTarget, connections: ConnectionSource
):
    products.catalogue.create_collection(
        CollectionDefinition(id=products.collection, description="As it was.", title="Scenes", license="CC-BY-4.0")
    )
    products.publish(*(f"item-{number}" for number in range(5)))
    before = (
        products.catalogue.get_collection(products.collection),
        products.catalogue.get_item(products.collection, "item-3"),
    )
    with connect(business_owner_db, application_name="disaster") as owner:
        owner.execute("SET ROLE pgstac_admin; SET search_path TO pgstac, public")
        owner.execute("DELETE FROM pgstac.collections")

    (planned,) = rebuild(connections, collection=products.collection, dry_run=True)
    assert (planned.is_created, planned.items, planned.missing, planned.unknown) == (True, 5, 5, 0)
    assert not products.catalogue.has_collection(products.collection)
    assert rebuild(connections, collection=products.collection) == [planned]

    assert products.problems() == []
    after = (
        products.catalogue.get_collection(products.collection),
        products.catalogue.get_item(products.collection, "item-3"),
    )
    assert after == before
    (again,) = rebuild(connections, collection=products.collection)
    assert (again.is_created, again.missing) == (False, 0)


def test_an_item_that_the_ledger_superseded_is_not_brought_back(products: Products, connections: ConnectionSource):
    products.publish("a")
    run = products.publish("a")
    rebuild(connections, collection=products.collection)
    assert run in products.catalogue.get_item(products.collection, "a")["assets"]["data"]["href"]
    connections().execute("UPDATE geoetl.artefact SET state = 'withdrawn' WHERE collection = %s", [products.collection])
    with connections().transaction():
        delete_items(connections(), products.collection, ["a"])
    rebuild(connections, collection=products.collection)
    with pytest.raises(ItemNotFound):
        products.catalogue.get_item(products.collection, "a")


def test_an_unknown_collection_is_refused(connections: ConnectionSource):
    with pytest.raises(CollectionNotFound):
        rebuild(connections, collection="no-such")


def test_only_what_nothing_refers_to_is_swept(products: Products):
    products.publish("a")
    orphan = products.write("a", str(uuid.uuid4()))
    stranger = BlobRef.of("silver", "silver", f"{products.collection}/by-hand.tif")
    products.store.upload(stranger, b"not of a run", content_type="image/tiff")

    listed = products.sweep()
    assert {each.uri for each in listed} == {orphan, thumbnail_ref(orphan)}
    assert products.store.properties(orphan).size_bytes == 5, "a dry run deletes nothing"

    assert products.sweep(delete=True) == listed
    assert products.sweep() == []
    assert products.problems() == []
    assert products.store.properties(stranger).size_bytes == 12


def test_a_younger_blob_and_an_unfinished_run_are_left_alone(products: Products):
    run = str(uuid.uuid4())
    products.write("a", run)
    assert products.sweep(after=dt.timedelta(days=6)) == []
    assert products.sweep(unfinished=[run]) == []
    assert len(products.sweep()) == 2


def test_an_earlier_attempt_of_a_published_run_is_swept_and_the_product_kept(products: Products):
    run = products.publish("a", attempt=2)
    earlier = products.write("a", run, attempt=1)
    assert {each.uri for each in products.sweep(delete=True)} == {earlier, thumbnail_ref(earlier)}
    assert products.problems() == []


def test_a_replaced_product_is_kept_for_the_grace_period(products: Products, connections: ConnectionSource):
    first = products.publish("a")
    products.publish("a")
    assert {each.run_id for each in products.sweep(after=LATER)} == {first}
    # Old blobs, replaced a moment ago: readers may still hold their addresses.
    connections().execute("UPDATE geoetl.artefact_history SET superseded_at = now() + interval '29 days'")
    assert products.sweep(after=LATER) == []


def publish_many(products: Products, run: int, *, attempt: int = 1, count: int = 1200) -> list[str]:
    made = [
        Publication(
            item={
                "type": "Feature", "stac_version": "1.1.0", "id": f"many-{number}",
                "collection": products.collection, "geometry": {"type": "Point", "coordinates": [10, 50]},
                "bbox": [10, 50, 10, 50], "properties": {"datetime": "2024-05-01T10:00:00Z"}, "links": [],
                "assets": {"data": {"href": f"https://store.example/{run}/{number}.tif"}},
            },
            artefact_uri=f"silver://silver/x/{run}/{number}.tif", etag=str(run), size_bytes=1, sha256="0" * 64,
        )
        for number in range(count)
    ]  # fmt: skip
    return PostgresPublisher(products.connections).publish(
        products.collection,
        made,
        run_id=RunId(f"run-{run}"),
        job_id="job",
        token=PublicationToken(run, attempt),
        create_collection=True,
    )


def test_many_items_are_published_together_or_not_at_all(products: Products):
    assert publish_many(products, 5) == [f"many-{number}" for number in range(1200)]
    with pytest.raises(Superseded):
        publish_many(products, 4)
    publish_many(products, 6, attempt=2)
    with pytest.raises(LeaseLost):
        publish_many(products, 6, attempt=1)
    found = products.catalogue.search({"collections": [products.collection], "limit": 2000})["features"]
    assert len(found) == 1200
    assert {item["assets"]["data"]["href"].split("/")[3] for item in found} == {"6"}


def test_many_items_that_do_not_arrive_as_written_are_not_published(
    products: Products, business_owner_db: DatabaseTarget
):
    products.catalogue.create_collection(CollectionDefinition(id=products.collection, description="x"))
    with connect(business_owner_db, application_name="tests") as owner:
        row = owner.execute(
            "SELECT partition_name FROM pgstac.partition_name(%s, now())", [products.collection]
        ).fetchone()
        assert row is not None
        owner.execute(
            "CREATE FUNCTION public.spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.id = 'many-700' THEN NEW.content = NEW.content #- '{assets,data}'; END IF; RETURN NEW; END $$;"
            f"SET ROLE pgstac_admin; CREATE TRIGGER spoil BEFORE INSERT ON pgstac.{row[0]}"
            " FOR EACH ROW EXECUTE FUNCTION public.spoil()"
        )
    with pytest.raises(SystemFault, match=r"1 of 1200 items.*'many-700'"):
        publish_many(products, 1)
    assert products.problems() == []
