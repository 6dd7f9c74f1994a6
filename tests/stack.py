"""Real services for tests, started when a test first asks for one and stopped at the end of the run."""

import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from psycopg import sql

from geoetl.config import DatabaseTarget
from geoetl.db.connections import connect
from geoetl.db.pgstac import bootstrap_pgstac
from geoetl.db.provision import Layout, grant_app, grant_business, provision
from geoetl.db.schema import load_migrations, migrate
from geoetl.local.azurite import Azurite
from geoetl.local.component import ToolMissing
from geoetl.local.ports import Ports
from geoetl.local.postgres import PostgresCluster

_TEMPLATES = Layout(app_db="template_app", business_db="template_business")


def require[T](start: Callable[[], T]) -> T:
    """Start a service; where its program is not installed, skip the test (fail in CI)."""
    try:
        return start()
    except ToolMissing as exc:
        _missing(exc)


def _missing(exc: ToolMissing) -> NoReturn:
    if os.environ.get("CI"):
        raise exc
    pytest.skip(str(exc))


class TestDatabases:
    """One private cluster, one template per database, and a copy (25 ms) of a template for each test."""

    __test__ = False

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="geoetl-tests-")
        folder = Path(self._folder.name)
        self.cluster = PostgresCluster(
            folder=folder / "postgres", log=folder / "postgres.log", record=folder / "postgres.pid", is_ephemeral=True
        )
        self._numbers = itertools.count(1)
        self._templates: set[str] = set()

    def start(self) -> None:
        self.cluster.start()
        provision(self.cluster.target(), _TEMPLATES)

    def stop(self) -> None:
        self.cluster.stop()
        self.cluster.remove()
        self._folder.cleanup()

    def new_app(self) -> DatabaseTarget:
        """A fresh, migrated app database, as its owner."""
        name = self._copy(_TEMPLATES.app_db, owner=_TEMPLATES.app, prepare=self._prepare_app)
        with connect(self.cluster.target(), application_name="tests") as connection:
            grant_app(connection, Layout(app_db=name))
        return self.cluster.target(name, _TEMPLATES.app)

    def new_business(self) -> DatabaseTarget:
        """A fresh, migrated business database with pgSTAC, as the worker."""
        name = self._copy(_TEMPLATES.business_db, owner=_TEMPLATES.migrator, prepare=self._prepare_business)
        with connect(self.cluster.target(), application_name="tests") as connection:
            grant_business(connection, Layout(business_db=name))
        return self.cluster.target(name, _TEMPLATES.worker)

    def new_empty(self, owner: str) -> DatabaseTarget:
        """A database without anything in it, as its owner."""
        name = self._copy("template0", owner=owner, prepare=None)
        return self.cluster.target(name, owner)

    def drop(self, target: DatabaseTarget) -> None:
        with connect(self.cluster.target(), application_name="tests") as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(target.dbname)))

    def _copy(self, template: str, *, owner: str, prepare: Callable[[], None] | None) -> str:
        if prepare is not None and template not in self._templates:
            prepare()
            self._templates.add(template)
        name = f"test_{next(self._numbers)}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY FILE_COPY")
        # A statement that waits for a lock forever would hang the run: pytest cannot end a thread.
        limit = sql.SQL("ALTER DATABASE {} SET statement_timeout = '30s'")
        with connect(self.cluster.target(), application_name="tests") as connection:
            connection.execute(statement.format(*map(sql.Identifier, (name, template, owner))))
            connection.execute(limit.format(sql.Identifier(name)))
        return name

    def _prepare_app(self) -> None:
        self._migrate(self.cluster.target(_TEMPLATES.app_db, _TEMPLATES.app), "app")

    def _prepare_business(self) -> None:
        owner = self.cluster.target(_TEMPLATES.business_db, _TEMPLATES.migrator)
        bootstrap_pgstac(owner, admin=self.cluster.target(_TEMPLATES.business_db))
        self._migrate(owner, "business")

    def _migrate(self, target: DatabaseTarget, database: str) -> None:
        with connect(target, application_name="tests") as connection:
            migrate(connection, load_migrations("app" if database == "app" else "business"))


class TestAzurite:
    """One Azurite for the whole run."""

    __test__ = False

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="geoetl-tests-")
        folder = Path(self._folder.name)
        self._azurite = Azurite(
            folder=folder / "blobs",
            ports=Ports(folder / "ports.json"),
            log=folder / "azurite.log",
            record=folder / "azurite.pid",
        )

    def start(self) -> str:
        self._azurite.start()
        return self._azurite.connection_string

    def stop(self) -> None:
        self._azurite.stop()
        self._folder.cleanup()
