"""Provisioning: the same result from the command and from its script, by whoever may do it."""

import os
import subprocess
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from geoetl.config import DatabaseSettings, DatabaseTarget
from geoetl.db.connections import DatabaseRefused, connect
from geoetl.db.maintenance import nuke, redeploy
from geoetl.db.provision import Layout, ProvisionFailed, provision, provision_script
from geoetl.db.status import app_status, business_status
from geoetl.db.upgrade import upgrade
from geoetl.errors import InvalidInput
from geoetl.local.postgres import find_programs
from tests.stack import TestDatabases

LAYOUT = Layout(app_db="prov_app", business_db="prov_business", app="prov_app", migrator="prov_owner", worker="prov_w")
WITH_PASSWORD = replace(LAYOUT, passwords={"prov_w": SecretStr("top-secret")})


def settings(admin: DatabaseTarget, *, layout: Layout = LAYOUT) -> DatabaseSettings:
    def target(dbname: str, user: str) -> DatabaseTarget:
        return admin.model_copy(update={"dbname": dbname, "user": user})

    return DatabaseSettings(
        app=target(layout.app_db, layout.app),
        business=target(layout.business_db, layout.worker),
        business_owner=target(layout.business_db, layout.migrator),
        admin=admin,
    )


@pytest.fixture
def admin(databases: TestDatabases) -> Generator[DatabaseTarget]:
    """The server's administrator; what a test provisions is gone afterwards."""
    target = databases.cluster.target()
    yield target
    with connect(target, application_name="tests") as connection:
        for name in ("prov_app", "prov_business"):
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        for role in ("prov_app", "prov_owner", "prov_w", "prov_admin"):
            if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None:
                connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
        connection.execute("DROP FUNCTION IF EXISTS pgaadauth_create_principal")


def test_provision_then_migrate_makes_a_ready_installation(admin: DatabaseTarget):
    ours = settings(admin)
    provision(admin, Layout.of(ours))
    assert upgrade(ours, dry_run=True).app
    report = upgrade(ours)
    assert report.pgstac
    assert upgrade(ours) == type(report)(app=(), business=(), pgstac=report.pgstac)
    assert app_status(ours.app).is_ready
    assert business_status(ours.business, owner=ours.business_owner).is_ready
    assert business_status(ours.business, owner=None).drift is None


def test_the_printed_script_does_the_same(admin: DatabaseTarget, tmp_path: Path):
    ours = settings(admin)
    for _ in range(2):
        _run_script(admin, Layout.of(ours), tmp_path)
    upgrade(ours)
    assert app_status(ours.app).is_nukeable
    assert business_status(ours.business, owner=ours.business_owner).is_ready
    with pytest.raises(DatabaseRefused, match="permission denied for database"):
        connect(ours.business.model_copy(update={"user": "prov_app"}), application_name="tests")


def test_passwords_are_set_and_never_printed(admin: DatabaseTarget):
    assert "top-secret" not in provision_script(WITH_PASSWORD) + repr(WITH_PASSWORD)
    provision(admin, WITH_PASSWORD)
    assert (_hash(admin) or "").startswith("SCRAM-SHA-256$")


def test_the_printed_script_leaves_passwords_alone(admin: DatabaseTarget, tmp_path: Path):
    _run_script(admin, WITH_PASSWORD, tmp_path)
    assert _hash(admin) is None
    provision(admin, WITH_PASSWORD)
    before = _hash(admin)
    _run_script(admin, WITH_PASSWORD, tmp_path)
    assert _hash(admin) == before
    assert '\n-- \\password "prov_w"' in provision_script(WITH_PASSWORD)


def _run_script(admin: DatabaseTarget, layout: Layout, folder: Path) -> None:
    script = folder / "provision.sql"
    script.write_text(provision_script(layout))
    subprocess.run(
        [str(find_programs() / "psql"), "-X", "-q", "-h", admin.host, "-U", admin.user, "-f", script, "postgres"],
        check=True,
        capture_output=True,
        env={**os.environ, "PGPORT": str(admin.port)},
    )


def _hash(admin: DatabaseTarget) -> str | None:
    with connect(admin, application_name="tests") as connection:
        row = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'prov_w'").fetchone()
    assert row is not None
    return row[0]


def test_roles_of_an_identity_are_made_by_azures_function(admin: DatabaseTarget):
    with connect(admin, application_name="tests") as connection:
        connection.execute(
            "CREATE FUNCTION pgaadauth_create_principal(name text, is_admin boolean, is_mfa boolean) RETURNS text"
            " LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('CREATE ROLE %I LOGIN', name);"
            " EXECUTE format('COMMENT ON ROLE %I IS ''of Entra''', name); RETURN name; END $$"
        )
    ours = settings(admin)
    identity = ours.model_copy(update={"business": ours.business.model_copy(update={"auth": "identity"})})
    provision(admin, Layout.of(identity))
    with connect(admin, application_name="tests") as connection:
        rows = connection.execute(
            "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname LIKE 'prov_%' ORDER BY 1"
        ).fetchall()
    assert rows == [("prov_app", None), ("prov_owner", None), ("prov_w", "of Entra")]


def test_a_server_without_entra_says_so(admin: DatabaseTarget):
    ours = settings(admin)
    identity = ours.model_copy(update={"app": ours.app.model_copy(update={"auth": "identity"})})
    with pytest.raises(ProvisionFailed, match="pgaadauth_create_principal"):
        provision(admin, Layout.of(identity))


def test_an_administrator_who_is_no_superuser_can_provision(admin: DatabaseTarget):
    """As on Azure: CREATEDB, CREATEROLE, member of pgSTAC's roles; extensions are there for the asking."""
    with connect(admin, application_name="tests") as connection:
        connection.execute("CREATE ROLE prov_admin LOGIN CREATEDB CREATEROLE")
        connection.execute("GRANT pgstac_admin, pgstac_read, pgstac_ingest TO prov_admin WITH ADMIN OPTION")
        # Azure lets its administrator make allow-listed extensions; here a superuser makes them beforehand.
        connection.execute("CREATE ROLE prov_owner LOGIN")
        connection.execute("CREATE DATABASE prov_business OWNER prov_owner")
    with connect(admin.model_copy(update={"dbname": "prov_business"}), application_name="tests") as connection:
        for extension in ("postgis", "btree_gist", "unaccent"):
            connection.execute(f"CREATE EXTENSION {extension}")
    ours = settings(admin.model_copy(update={"user": "prov_admin"}))
    assert ours.admin is not None
    provision(ours.admin, Layout.of(ours))
    upgrade(ours)
    assert app_status(ours.app).is_ready
    assert business_status(ours.business, owner=ours.business_owner).is_ready


def test_one_identity_for_both_databases_keeps_the_rights_of_each(admin: DatabaseTarget):
    """The same identity, different grants: it owns the app database, and may not change structure in business."""
    one = Layout(app_db="prov_app", business_db="prov_business", app="prov_w", migrator="prov_owner", worker="prov_w")
    ours = settings(admin, layout=one)
    provision(admin, Layout.of(ours))
    upgrade(ours)
    nuke(ours.app, confirm="prov_app", person="ada")
    redeploy(ours.app, person="ada")
    with (
        connect(ours.business, application_name="tests") as connection,
        pytest.raises(Exception, match="must be owner"),
    ):
        connection.execute("DROP SCHEMA pgstac CASCADE")


def test_migrating_without_the_owner_says_what_to_set(admin: DatabaseTarget):
    with pytest.raises(InvalidInput, match="GEOETL_DATABASE__BUSINESS_OWNER__HOST"):
        upgrade(settings(admin).model_copy(update={"business_owner": None}))


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"dbname": "prov_app", "host": "localhost"}, "both named 'prov_app'"), ({"host": "other"}, "on two servers")],
)
def test_one_name_for_both_and_two_servers_are_refused(change: dict[str, str], problem: str, admin: DatabaseTarget):
    ours = settings(admin)
    assert ours.business_owner is not None
    moved = ours.model_copy(
        update={
            "business": ours.business.model_copy(update=change),
            "business_owner": ours.business_owner.model_copy(update=change),
        }
    )
    with pytest.raises(ProvisionFailed, match=problem):
        Layout.of(moved)
