"""A business database with two collections, and how the tests publish into it."""

from collections.abc import Generator, Sequence

import pytest

from geoetl.config import DatabaseTarget
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import ConnectionSource
from geoetl.models.catalogue import CollectionDefinition
from geoetl.models.publication import Publication, PublicationToken
from geoetl.models.refs import RunId
from geoetl.publication.ledger import Ledger
from geoetl.publication.publish import PostgresPublisher

SCENES, OTHER = COLLECTIONS = ("scenes", "other-scenes")


@pytest.fixture
def connections(business_db: DatabaseTarget) -> Generator[ConnectionSource]:
    source = ConnectionSource(business_db, application_name="tests")
    yield source
    source.close()


@pytest.fixture
def catalogue(connections: ConnectionSource) -> Catalogue:
    catalogue = Catalogue(connections)
    for collection in COLLECTIONS:
        catalogue.create_collection(CollectionDefinition(id=collection, description="Of the tests."))
    return catalogue


def publications(run: str, item_ids: Sequence[str], collection: str = SCENES) -> list[Publication]:
    return [publication(run, item_id, collection) for item_id in item_ids]


def publication(run: str, item_id: str, collection: str = SCENES) -> Publication:
    item: dict[str, object] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": collection,
        "geometry": {"type": "Point", "coordinates": [10.0, 50.0]},
        "bbox": [10.0, 50.0, 10.0, 50.0],
        "properties": {"datetime": "2024-05-01T10:00:00Z"},
        "links": [],
        "assets": {"data": {"href": f"https://store.example/silver/{run}/{item_id}.tif"}},
    }
    uri = f"silver://silver/{collection}/{item_id}/{run}/{item_id}.tif"
    return Publication(item=item, artefact_uri=uri, etag=f"etag-{run}", size_bytes=1024, sha256="0" * 64)


def publish(
    publisher: PostgresPublisher, run: int, item_ids: Sequence[str], *, attempt: int = 1, collection: str = SCENES
) -> list[str]:
    return publisher.publish(
        collection,
        publications(f"run-{run}", item_ids, collection),
        run_id=RunId(f"run-{run}"),
        job_id="job",
        token=PublicationToken(run_sequence=run, attempt=attempt),
    )


@pytest.fixture
def publisher(connections: ConnectionSource, catalogue: Catalogue) -> PostgresPublisher:
    return PostgresPublisher(connections)


@pytest.fixture
def ledger(connections: ConnectionSource) -> Ledger:
    return Ledger(connections)


class Visible:
    """What a reader of the catalogue sees."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def runs(self, *item_ids: str, collection: str = SCENES) -> dict[str, str]:
        """The run in the href of each item that a search finds."""
        found = self._catalogue.search_ids(collection, item_ids)
        return {item["id"]: item["assets"]["data"]["href"].split("/")[-2] for item in found}


@pytest.fixture
def visible(catalogue: Catalogue) -> Visible:
    return Visible(catalogue)
