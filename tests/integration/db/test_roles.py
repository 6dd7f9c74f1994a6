"""What each role must not do is refused by PostgreSQL itself, and what it must do still works."""

import pytest
from psycopg import errors

from geoetl.config import DatabaseTarget
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import Connection, ConnectionSource, DatabaseRefused, connect
from geoetl.db.items import upsert_items
from geoetl.db.pgstac import PgstacFault, bootstrap_pgstac, installed_version, package_version
from geoetl.db.provision import Layout, provision
from geoetl.db.schema import Migration, load_migrations, migrate
from geoetl.models.catalogue import CollectionDefinition
from tests.stack import TestDatabases


@pytest.fixture
def loaded(business: ConnectionSource) -> ConnectionSource:
    """The worker, in a database with a collection and an item."""
    Catalogue(business).create_collection(CollectionDefinition(id="scenes", description="For tests."))
    point = {"type": "Point", "coordinates": [1, 2]}
    item = {
        "type": "Feature", "stac_version": "1.1.0", "id": "a", "collection": "scenes", "geometry": point,
        "bbox": [1, 2, 1, 2], "properties": {"datetime": "2024-01-01T00:00:00Z"}, "assets": {}, "links": [],
    }  # fmt: skip
    with business().transaction():
        upsert_items(business(), "scenes", [item])
    return business


def partitions(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT oid::regclass::text FROM pg_class"
        " WHERE relispartition AND relkind IN ('r', 'p') AND relnamespace = 'pgstac'::regnamespace"
    ).fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE pgstac.items",
        "TRUNCATE pgstac.collections CASCADE",
        "DELETE FROM pgstac.collections",
        "SELECT pgstac.delete_collection('scenes')",
        "DROP TABLE pgstac.items",
        "DROP SCHEMA pgstac CASCADE",
        "DROP SCHEMA geoetl_meta CASCADE",
        "ALTER TABLE pgstac.items OWNER TO geoetl_worker",
        "ALTER TABLE pgstac.items DROP COLUMN geometry",
        "UPDATE pgstac.pgstac_settings SET value = 'true' WHERE name = 'readonly'",
        "INSERT INTO pgstac.migrations (version) VALUES ('9.9.9')",
        "CREATE TABLE pgstac.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE SCHEMA mine",
        "SET ROLE pgstac_admin",
        "SET ROLE geoetl_migrator",
        "CREATE ROLE mine",
        "ALTER ROLE geoetl_worker CREATEROLE",
        "GRANT pgstac_admin TO geoetl_worker",
        "INSERT INTO geoetl_meta.migration (number, name, checksum) VALUES (999, 'forged', '')",
        "UPDATE geoetl_meta.migration SET checksum = ''",
        "DELETE FROM geoetl_meta.migration",
        "CREATE EXTENSION postgis_topology",
        "CREATE DATABASE mine",
    ],
)
def test_the_worker_is_refused(statement: str, loaded: ConnectionSource):
    with pytest.raises(errors.InsufficientPrivilege):
        loaded().execute(statement)


def test_the_worker_may_not_truncate_the_partitions_that_its_loads_made(loaded: ConnectionSource):
    names = partitions(loaded())
    assert names
    for name in names:
        with pytest.raises(errors.InsufficientPrivilege):
            loaded().execute(f"TRUNCATE {name}")


def test_the_worker_may_not_drop_the_database(loaded: ConnectionSource, databases: TestDatabases):
    elsewhere = databases.cluster.target("postgres", "geoetl_worker")
    with (
        connect(elsewhere, application_name="tests") as connection,
        pytest.raises(errors.InsufficientPrivilege, match="must be owner of database"),
    ):
        connection.execute(f"DROP DATABASE {loaded.target.dbname} WITH (FORCE)")


def test_the_app_role_cannot_enter_the_business_database(business_db: DatabaseTarget):
    with pytest.raises(DatabaseRefused, match="permission denied for database"):
        connect(business_db.model_copy(update={"user": "geoetl_app"}), application_name="tests")


@pytest.mark.parametrize("role", ["geoetl_worker", "geoetl_migrator"])
def test_the_business_roles_cannot_enter_the_app_database(role: str, app_db: DatabaseTarget):
    with pytest.raises(DatabaseRefused, match="permission denied for database"):
        connect(app_db.model_copy(update={"user": role}), application_name="tests")


@pytest.mark.parametrize("role", ["geoetl_app", "geoetl_migrator", "geoetl_worker"])
def test_no_role_may_make_roles_or_databases(role: str, databases: TestDatabases):
    with connect(databases.cluster.target(), application_name="tests") as admin:
        row = admin.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles"
            " WHERE rolname = %s",
            [role],
        ).fetchone()
    assert row == (False, False, False, False, False)


def test_the_worker_uses_what_migrations_create_but_not_its_structure(owner: Connection, business: ConnectionSource):
    shipped = load_migrations("business")
    new = Migration(
        number=len(shipped) + 1,
        name="new",
        sql="CREATE SCHEMA probe; CREATE TABLE probe.thing (id bigint GENERATED ALWAYS AS IDENTITY, name text);",
    )
    migrate(owner, [*shipped, new])
    business().execute("INSERT INTO probe.thing (name) VALUES ('a')")
    business().execute("UPDATE probe.thing SET name = 'b'")
    assert business().execute("DELETE FROM probe.thing RETURNING name").fetchall() == [("b",)]
    for statement in ("TRUNCATE probe.thing", "DROP TABLE probe.thing", "CREATE TABLE probe.mine ()"):
        with pytest.raises(errors.InsufficientPrivilege):
            business().execute(statement)


def test_a_second_bootstrap_needs_no_administrator(business_owner_db: DatabaseTarget):
    assert bootstrap_pgstac(business_owner_db) == package_version()


def test_hardening_is_applied_again_by_every_bootstrap(
    loaded: ConnectionSource, business_owner_db: DatabaseTarget, databases: TestDatabases
):
    with connect(databases.cluster.target(loaded.target.dbname), application_name="tests") as admin:
        # What a pgSTAC migration does.
        admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA pgstac TO pgstac_ingest")
    loaded().execute("TRUNCATE pgstac.items")
    bootstrap_pgstac(business_owner_db)
    with pytest.raises(errors.InsufficientPrivilege):
        loaded().execute("TRUNCATE pgstac.items")


def test_installing_pgstac_without_the_administrator_says_what_is_needed(databases: TestDatabases):
    target = databases.new_empty("geoetl_migrator")
    try:
        assert installed_version(target) is None
        with pytest.raises(PgstacFault, match=r"has pgSTAC \(none\).* Run the migration with the administrator's"):
            bootstrap_pgstac(target)
    finally:
        databases.drop(target)


def test_provisioning_again_changes_nothing(databases: TestDatabases, app_db: DatabaseTarget):
    layout = Layout(app_db=app_db.dbname, business_db="template_business_again")
    provision(databases.cluster.target(), layout)
    provision(databases.cluster.target(), layout)
    databases.drop(app_db.model_copy(update={"dbname": layout.business_db}))
    with connect(app_db, application_name="tests") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("geoetl_app",)
