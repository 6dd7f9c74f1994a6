"""A business database with two collections."""

from collections.abc import Generator

import pytest

from geoetl.config import DatabaseTarget
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import ConnectionSource
from geoetl.models.catalogue import CollectionDefinition

COLLECTIONS = ("scenes", "other-scenes")


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
