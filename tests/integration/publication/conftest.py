"""A business database with two collections."""

from collections.abc import Generator

import pytest
from psycopg.types.json import Jsonb

from geoetl.config import DatabaseTarget
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import ConnectionSource, connect

COLLECTIONS = ("scenes", "other-scenes")


@pytest.fixture
def connections(business_db: DatabaseTarget) -> Generator[ConnectionSource]:
    with connect(business_db, application_name="tests") as connection:
        connection.execute("SET search_path TO pgstac, public")
        for collection in COLLECTIONS:
            connection.execute("SELECT pgstac.create_collection(%s)", [Jsonb(_collection(collection))])
    source = ConnectionSource(business_db, application_name="tests")
    yield source
    source.close()


@pytest.fixture
def catalogue(connections: ConnectionSource) -> Catalogue:
    return Catalogue(connections)


def _collection(collection: str) -> dict[str, object]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": collection,
        "description": "Of the tests.",
        "license": "other",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }
