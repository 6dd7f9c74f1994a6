"""Where the two databases are."""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from geoetl.config.section import Section

#: A network that goes silent ends a session after 20 s, whether a statement is on its way or an answer is awaited.
#: Linux by itself would wait a quarter of an hour, or two hours. Within a lease of the default length, so that a worker
#: hears of it. The count matters where a system has no user timeout; Unix sockets ignore all four.
#: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES-IDLE
_SILENCE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}

type SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class DatabaseTarget(Section):
    """One database and the role to use it as, in libpq's words."""

    host: str = Field(min_length=1)
    """Host name, or the folder of a Unix socket (starts with ``/``)."""
    port: int = Field(default=5432, ge=1, le=65535)
    """Port; over a Unix socket it is part of the socket's file name."""
    dbname: str = Field(min_length=1, max_length=63)
    """Name of the database."""
    user: str = Field(min_length=1, max_length=63)
    """Role to connect as."""
    auth: Literal["password", "identity"] = "password"
    """``identity``: the password is a token of the process's Azure identity, made anew for each connection."""
    password: SecretStr | None = None
    """Password; none where the server asks for none, and none with an identity."""
    sslmode: SslMode = "require"
    """libpq's sslmode. A Unix socket ignores it."""
    connect_timeout_s: int = Field(default=10, ge=2, le=300)
    """How long to wait for the server to accept a connection, in seconds (libpq takes no less than 2)."""

    @model_validator(mode="after")
    def _has_one_access(self) -> Self:
        if self.auth == "identity" and self.password is not None:
            raise ValueError("auth is identity, so a token is the password; leave password out")
        return self

    def conninfo(self, *, application_name: str = "geoetl") -> str:
        """A libpq connection string. It holds the password: never print it; ``str(target)`` is safe to print."""
        parts: dict[str, object] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.dbname,
            "user": self.user,
            "password": self.password.get_secret_value() if self.password else "",
            "sslmode": self.sslmode,
            "connect_timeout": self.connect_timeout_s,
            "application_name": application_name,
            **_SILENCE,
        }
        return " ".join(f"{name}={_quote(str(value))}" for name, value in parts.items() if value != "")

    def is_same_database(self, other: "DatabaseTarget") -> bool:
        """Whether both name one database, whatever the role."""
        return (self.host, self.port, self.dbname) == (other.host, other.port, other.dbname)

    def __str__(self) -> str:
        return f"database {self.dbname!r} on {self.host}:{self.port} as {self.user!r}"


class DatabaseSettings(Section):
    """The app database (jobs: may be rebuilt at will) and the business database (products: protected)."""

    app: DatabaseTarget
    """Jobs, stages, tasks, events and the outbox."""
    business: DatabaseTarget
    """pgSTAC, published tables and the ledger, as the role that works there every day."""
    business_owner: DatabaseTarget | None = None
    """The business database as its owner: needed by migrations only, do not give it to workers."""
    connections_share: float = Field(default=0.8, gt=0, le=1)
    """How much of a server's ``max_connections`` may be in use, or declared by workers: a worker that would exceed it
    does not start."""
    admin: DatabaseTarget | None = None
    """The server's administrator in its ``postgres`` database: needed by ``geoetl db provision`` and by an upgrade of
    pgSTAC only, do not give it to workers."""

    @model_validator(mode="after")
    def _are_two(self) -> Self:
        if self.app.is_same_database(self.business):
            raise ValueError(
                f"app and business both name database {self.app.dbname!r} on {self.app.host}:{self.app.port}; "
                "they must be two databases, because the app database may be dropped and rebuilt"
            )
        if self.business_owner is not None and not self.business_owner.is_same_database(self.business):
            raise ValueError("business_owner must name the same host, port and dbname as business")
        return self


def _quote(value: str) -> str:
    # https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
