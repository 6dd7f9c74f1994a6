"""The two databases, their roles and their rights. Everything here may be run again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from psycopg import sql
from psycopg.errors import DuplicateDatabase, InsufficientPrivilege, UndefinedFile, UndefinedFunction
from pydantic import SecretStr

from geoetl.config.database import DatabaseSettings, DatabaseTarget
from geoetl.db.connections import Connection, connect, database_errors
from geoetl.db.statements import compose_statement
from geoetl.errors import SystemFault


class ProvisionFailed(SystemFault):
    """The server's administrator lacks a right, or the server an extension."""

    default_code = "provision-failed"


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of the databases and roles of one installation."""

    app_db: str = "geoetl_app"
    business_db: str = "geoetl_business"
    app: str = "geoetl_app"
    """Owns the app database and works in it; cannot enter the business database."""
    migrator: str = "geoetl_migrator"
    """Owns the business database; used by migrations only."""
    worker: str = "geoetl_worker"
    """Works in the business database: rows, not structure."""
    identities: tuple[str, ...] = ()
    """Those of the roles that sign in with a token of Microsoft Entra ID."""
    passwords: Mapping[str, SecretStr] = field(default_factory=dict[str, SecretStr])
    """By role, for those that sign in with a password."""

    @classmethod
    def of(cls, settings: DatabaseSettings) -> "Layout":
        """The names that the settings use.

        Raises:
            ProvisionFailed: The settings do not name the owner of the business database, put both databases under one
                name, or on two servers.
        """
        owner = settings.business_owner
        if owner is None:
            raise ProvisionFailed(
                "The settings do not say who shall own the business database.",
                hint="Set GEOETL_DATABASE__BUSINESS_OWNER__HOST, …__DBNAME and …__USER.",
            )
        if settings.app.dbname == settings.business.dbname:
            raise ProvisionFailed(
                f"The app and the business database are both named {settings.app.dbname!r}.",
                hint="Give them two names, on two servers as well: a mistaken host must not turn one into the other.",
            )
        if (settings.app.host, settings.app.port) != (settings.business.host, settings.business.port):
            raise ProvisionFailed(
                f"The databases are on two servers, {settings.app.host} and {settings.business.host}.",
                hint="Set one host for both, print `geoetl db provision --dry-run`, run each part where it belongs.",
            )
        targets = (settings.app, owner, settings.business)
        return cls(
            app_db=settings.app.dbname,
            business_db=settings.business.dbname,
            app=settings.app.user,
            migrator=owner.user,
            worker=settings.business.user,
            identities=tuple(dict.fromkeys(target.user for target in targets if target.auth == "identity")),
            passwords={target.user: target.password for target in targets if target.password is not None},
        )

    @property
    def parts(self) -> dict[str, sql.Composable]:
        """For `compose_statement`: each name as an identifier, and the roles as text."""
        names = {"app_db": self.app_db, "business_db": self.business_db, **self._roles}
        identifiers: dict[str, sql.Composable] = {key: sql.Identifier(name) for key, name in names.items()}
        identities = sql.SQL(", ").join(map(sql.Literal, self.identities))
        identifiers["identities"] = sql.SQL("ARRAY[{}]::text[]").format(identities)
        return identifiers | {f"{key}_name": sql.Literal(name) for key, name in self._roles.items()}

    @property
    def _roles(self) -> dict[str, str]:
        return {"app": self.app, "migrator": self.migrator, "worker": self.worker}


@dataclass(frozen=True, slots=True)
class Step:
    """One part of provisioning, in one transaction unless it makes a database."""

    title: str
    database: Literal["server", "app", "business"]
    """Where it runs; ``server``: in the administrator's own database."""
    statement: sql.Composed
    makes: str = ""
    """Name of the database it makes, where it makes one: skipped where that exists."""
    secret: tuple[str, SecretStr] | None = None
    """The role whose password it sets, and the password: sent as a hash, never printed."""


def provision_steps(layout: Layout) -> tuple[Step, ...]:
    """Everything `provision` does, in order."""
    parts = layout.parts
    create = sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8'")
    return (
        *(
            [Step("roles of Microsoft Entra ID", "server", compose_statement("provision_identities", **parts))]
            if layout.identities
            else []
        ),
        Step("roles", "server", compose_statement("provision_roles", **parts)),
        *(
            Step(f"password of {role}", "server", sql.SQL("ALTER ROLE {} PASSWORD ").format(sql.Identifier(role)),
                 secret=(role, password))
            for role, password in layout.passwords.items()
        ),
        Step("the app database", "server", create.format(parts["app_db"], parts["app"]), makes=layout.app_db),
        Step(
            "the business database",
            "server",
            create.format(parts["business_db"], parts["migrator"]),
            makes=layout.business_db,
        ),
        Step("who may enter the app database", "server", compose_statement("grant_app", **parts)),
        Step("who may enter the business database", "server", compose_statement("grant_business", **parts)),
        Step("marker and record of maintenance", "app", compose_statement("provision_app", **parts)),
        Step("extensions and default rights", "business", compose_statement("provision_business", **parts)),
    )  # fmt: skip


def provision_script(layout: Layout) -> str:
    """What `provision` would run, for psql: to be read, or run by an administrator. It sets no password."""
    lines = ["-- Run with psql, as the server's administrator, in its database postgres.", "\\set ON_ERROR_STOP on"]
    place = "server"
    names = {"server": "postgres", "app": layout.app_db, "business": layout.business_db}
    for step in provision_steps(layout):
        lines += ["", f"-- {step.title}"]
        if step.database != place:
            place = step.database
            lines.append(f"\\connect {sql.Identifier(names[place]).as_string(None)}")
        text = step.statement.as_string(None).strip()
        if step.makes:
            literal = sql.Literal(text).as_string(None)
            exists = sql.Literal(step.makes).as_string(None)
            absent = f"WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = {exists})"
            lines.append(f"SELECT {literal} {absent} \\gexec")
        elif step.secret:
            # A comment: whoever runs the script would set whatever stands here for a password.
            role = sql.Identifier(step.secret[0]).as_string(None)
            lines += ["-- This script sets none. In psql, this asks for it and sends a hash:", f"-- \\password {role}"]
        else:
            lines += ["BEGIN;", text if text.endswith(";") else f"{text};", "COMMIT;"]
    return "\n".join(lines) + "\n"


def provision(admin: DatabaseTarget, layout: Layout | None = None) -> None:
    """Create roles, databases, extensions and grants where they are missing.

    Args:
        admin: Any database of the server (``postgres``), as its administrator.
        layout: Names to use.

    Raises:
        ProvisionFailed: A right or an extension is missing on the server.
        DatabaseUnavailable: The server went away.
    """
    layout = layout or Layout()
    doing = f"provision the databases {layout.app_db} and {layout.business_db}"
    places = {
        "server": admin,
        "app": admin.model_copy(update={"dbname": layout.app_db}),
        "business": admin.model_copy(update={"dbname": layout.business_db}),
    }
    steps = provision_steps(layout)
    try:
        for place, target in places.items():
            with database_errors(doing), connect(target, application_name="geoetl provision") as connection:
                _run(connection, [step for step in steps if step.database == place])
    except (InsufficientPrivilege, UndefinedFile, UndefinedFunction) as exc:
        raise ProvisionFailed(
            f"Could not {doing} as {admin.user!r}: {str(exc).strip()}.",
            hint="The role must be able to create roles, databases and extensions; the server needs PostGIS.",
        ) from exc


def grant_app(connection: Connection, layout: Layout) -> None:
    """Set who may enter the app database. A copy made with CREATE DATABASE … TEMPLATE needs this again."""
    with connection.transaction():
        connection.execute(compose_statement("grant_app", **layout.parts))


def grant_business(connection: Connection, layout: Layout) -> None:
    """Set who may enter the business database. A copy made with CREATE DATABASE … TEMPLATE needs this again."""
    with connection.transaction():
        connection.execute(compose_statement("grant_business", **layout.parts))


def _run(connection: Connection, steps: Sequence[Step]) -> None:
    for step in steps:
        if step.makes:
            _create_database(connection, step)
        elif step.secret:
            role, password = step.secret
            hashed = connection.pgconn.encrypt_password(
                password.get_secret_value().encode(), role.encode(), b"scram-sha-256"
            )
            connection.execute(step.statement + sql.Literal(hashed.decode()))
        else:
            with connection.transaction():
                connection.execute(step.statement)


def _create_database(connection: Connection, step: Step) -> None:
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [step.makes]).fetchone() is not None:
        return
    try:
        connection.execute(step.statement)
    except DuplicateDatabase:
        # Somebody provisions at the same time; the database is there, which is all that was wanted.
        return
