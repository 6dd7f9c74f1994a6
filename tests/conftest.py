"""Services shared by all tests. Nothing starts before a test asks for it."""

import os
from collections.abc import Generator

import pytest
from xdist.remote import Producer

from geoetl.config import DatabaseTarget
from tests.schedule import FromBothEnds
from tests.stack import TestAzurite, TestDatabases, require

# Containers often set it. The tests start a hundred processes, and each would compile every module anew: two seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FromBothEnds:
    return FromBothEnds(config, log)


@pytest.fixture(scope="session")
def databases() -> Generator[TestDatabases]:
    """A private PostgreSQL cluster, as its administrator."""
    databases = TestDatabases()
    try:
        require(databases.start)
        yield databases
    finally:
        databases.stop()


@pytest.fixture
def app_db(databases: TestDatabases) -> Generator[DatabaseTarget]:
    """A fresh, migrated app database, as its owner."""
    target = databases.new_app()
    yield target
    databases.drop(target)


@pytest.fixture
def business_db(databases: TestDatabases) -> Generator[DatabaseTarget]:
    """A fresh, migrated business database with pgSTAC, as the worker role."""
    target = databases.new_business()
    yield target
    databases.drop(target)


@pytest.fixture
def business_owner_db(business_db: DatabaseTarget) -> DatabaseTarget:
    """The database of ``business_db``, as its owner."""
    return business_db.model_copy(update={"user": "geoetl_migrator"})


@pytest.fixture(scope="session")
def azurite() -> Generator[str]:
    """Connection string of a running Azurite with the containers ``bronze`` and ``silver``; shared by all tests."""
    azurite = TestAzurite()
    try:
        yield require(azurite.start)
    finally:
        azurite.stop()
