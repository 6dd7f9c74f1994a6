from collections.abc import Generator

import pytest

from geoetl.config import DatabaseTarget
from geoetl.db.connections import Connection, ConnectionSource, connect


@pytest.fixture
def business(business_db: DatabaseTarget) -> Generator[ConnectionSource]:
    """The business database as the worker."""
    source = ConnectionSource(business_db, application_name="tests")
    yield source
    source.close()


@pytest.fixture
def owner(business_owner_db: DatabaseTarget) -> Generator[Connection]:
    """The business database as its owner."""
    with connect(business_owner_db, application_name="tests") as connection:
        yield connection
