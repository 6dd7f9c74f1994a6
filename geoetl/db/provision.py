"""The two databases, their roles and their rights. Everything here may be run again."""

from dataclasses import dataclass

from psycopg import sql
from psycopg.errors import DuplicateDatabase, InsufficientPrivilege, UndefinedFile

from geoetl.config.database import DatabaseTarget
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

    @property
    def parts(self) -> dict[str, sql.Composable]:
        """For `compose_statement`: each name as an identifier, and the roles as text."""
        names = {"app_db": self.app_db, "business_db": self.business_db, **self._roles}
        identifiers: dict[str, sql.Composable] = {key: sql.Identifier(name) for key, name in names.items()}
        return identifiers | {f"{key}_name": sql.Literal(name) for key, name in self._roles.items()}

    @property
    def _roles(self) -> dict[str, str]:
        return {"app": self.app, "migrator": self.migrator, "worker": self.worker}


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
    try:
        with database_errors(doing), connect(admin, application_name="geoetl provision") as connection:
            with connection.transaction():
                connection.execute(compose_statement("provision_roles", **layout.parts))
            _create_database(connection, name=layout.app_db, owner=layout.app)
            _create_database(connection, name=layout.business_db, owner=layout.migrator)
            grant_app(connection, layout)
            grant_business(connection, layout)
        business = admin.model_copy(update={"dbname": layout.business_db})
        with (
            database_errors(doing),
            connect(business, application_name="geoetl provision") as connection,
            connection.transaction(),
        ):
            connection.execute(compose_statement("provision_business", **layout.parts))
    except (InsufficientPrivilege, UndefinedFile) as exc:
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


def _create_database(connection: Connection, *, name: str, owner: str) -> None:
    found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
    if found is None:
        statement = sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8'")
        try:
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(owner)))
        except DuplicateDatabase:
            # Somebody provisions at the same time; the database is there, which is all that was wanted.
            return
