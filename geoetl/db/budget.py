"""How many sessions a worker needs, and whether the servers have room for them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from geoetl.config.database import DatabaseSettings, DatabaseTarget
from geoetl.db.connections import connect, database_errors
from geoetl.db.statements import read_statement
from geoetl.errors import SystemFault

_DECLARED = re.compile(r"^geoetl worker (\d+)\+(\d+)$")


class ConnectionsExceeded(SystemFault):
    """A server would have more sessions than it is allowed to."""

    default_code = "connections-exceeded"


@dataclass(frozen=True, slots=True)
class Demand:
    """Sessions of one worker at most: its own word, which later ones count with."""

    app: int
    business: int

    @classmethod
    def of_worker(cls, children: int) -> "Demand":
        """Of a worker with so many children.

        App: one for each child and one for heartbeat and stand-by relay. Three more for what only one worker does at a
        time, but any may come to do: one while its relay leads, two for moments while that does its chores or a child
        is reported that was lost, or is ended for want of memory. Business: one for each child, opened by the first
        task that publishes.
        """
        return cls(app=children + 4, business=children)

    @property
    def application_name(self) -> str:
        """How the worker's first session declares it."""
        return f"geoetl worker {self.app}+{self.business}"

    def __add__(self, other: "Demand") -> "Demand":
        return Demand(self.app + other.app, self.business + other.business)


@dataclass(frozen=True, slots=True)
class ServerUse:
    """One server, as it would be with one worker more."""

    server: str
    databases: str
    available: int
    """``max_connections`` without what is reserved for superusers."""
    share: float
    foreign: int
    """Sessions of roles that are none of geoetl's."""
    held: int
    """Sessions of geoetl's roles."""
    declared: int
    """What running workers may come to hold."""
    wanted: int
    """What one more would."""

    @property
    def allowed(self) -> int:
        return int(self.available * self.share)

    @property
    def expected(self) -> int:
        """Sessions when every worker holds what it declared."""
        return self.foreign + max(self.held, self.declared) + self.wanted

    @property
    def fits(self) -> bool:
        return self.expected <= self.allowed

    def __str__(self) -> str:
        return (
            f"{self.server} ({self.databases}): {self.wanted} sessions wanted, {self.held} held and {self.declared} "
            f"declared by geoetl, {self.foreign} held by others; {self.expected} of {self.allowed} allowed "
            f"({self.share:.0%} of {self.available})"
        )


def require_room(settings: DatabaseSettings, demand: Demand) -> None:
    """See that a worker may start.

    Raises:
        ConnectionsExceeded: A server has no room for it; the figures are in the message.
        DatabaseUnavailable: A server cannot be asked now.
    """
    for use in look_at_servers(settings, demand):
        if not use.fits:
            raise ConnectionsExceeded(
                f"This worker would take {use}.",
                hint="Lower its concurrency, run fewer workers, raise max_connections of the server, or allow more "
                "with GEOETL_DATABASE__CONNECTIONS_SHARE.",
            )


def look_at_servers(settings: DatabaseSettings, demand: Demand) -> tuple[ServerUse, ...]:
    """The server of both databases, or the two servers.

    Raises:
        DatabaseUnavailable, DatabaseRefused: One cannot be asked.
    """
    app, business = settings.app, settings.business
    share = settings.connections_share
    # Every worker declares itself on the server of the app database.
    available, foreign, held, declared = _sessions(app, (app.user, business.user))
    if (app.host, app.port) == (business.host, business.port):
        both = declared.app + declared.business
        wanted = demand.app + demand.business
        return (ServerUse(_server(app), "both databases", available, share, foreign, held, both, wanted),)
    theirs = ServerUse(_server(app), "app", available, share, foreign, held, declared.app, demand.app)
    available, foreign, held, _ = _sessions(business, (app.user, business.user))
    return (
        theirs,
        ServerUse(_server(business), "business", available, share, foreign, held, declared.business, demand.business),
    )


def _server(target: DatabaseTarget) -> str:
    return f"{target.host}:{target.port}"


def _sessions(target: DatabaseTarget, roles: Sequence[str]) -> tuple[int, int, int, Demand]:
    with (
        database_errors(f"count the sessions of {target}"),
        # Closed before the pool forks.
        connect(target, application_name="geoetl budget") as connection,
    ):
        row = connection.execute(read_statement("connection_use"), {"roles": list(roles)}).fetchone()
    assert row is not None
    available, foreign, held, names = row
    declared = Demand(0, 0)
    for name in names:
        if found := _DECLARED.match(name):
            declared += Demand(int(found[1]), int(found[2]))
    return available, foreign, held, declared
