"""What a worker's main process knows of its children's attempts: it extends their leases and sees which must end."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries

SQL = load_queries("geoetl.engine.sql", "tasks.sql")

#: A task's id and the owner (``boot:pid``) of the process that works on it. One worker may have a task twice: a process
#: whose lease was lost still works while another has claimed it anew.
type Live = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt that a live process owns, as its row says."""

    live: Live
    attempt: int
    must_stop: bool
    """Its stage is closed."""


def beat(conn: Connection, live: Collection[Live], *, lease_s: float) -> set[Live]:
    """Extend the leases of what live processes own, ``lease_s`` seconds from now; whose were extended."""
    if not live:
        return set()
    rows = conn.execute(SQL["heartbeat"], {**_columns(live), "lease_s": lease_s}).fetchall()
    return {(str(task_id), worker) for task_id, worker in rows}


def look(conn: Connection, live: Collection[Live]) -> list[Held]:
    """Which live processes own what they work on. A plain read: cheap enough to see a cancel at once."""
    if not live:
        return []
    rows = conn.execute(SQL["held"], _columns(live)).fetchall()
    return [Held((str(task_id), worker), attempt, must_stop) for task_id, worker, attempt, must_stop in rows]


@dataclass(frozen=True, slots=True)
class Expected:
    """An attempt that a live process owns, and what it was expected to need."""

    live: Live
    label: str
    attempt: int
    memory_bytes: int | None


def expected(conn: Connection, live: Collection[Live]) -> list[Expected]:
    """What live processes work on."""
    rows = conn.execute(SQL["expected"], _columns(live)).fetchall()
    return [Expected((str(task_id), worker), *rest) for task_id, worker, *rest in rows]


def stop_attempt(conn: Connection, task_id: str, attempt: int) -> None:
    """Give up the task of an attempt whose process is about to be ended."""
    conn.execute(SQL["cancel_attempt"], {"id": task_id, "attempt": attempt})


def _columns(live: Collection[Live]) -> dict[str, list[str]]:
    return {"ids": [task_id for task_id, _ in live], "workers": [worker for _, worker in live]}


@dataclass(frozen=True, slots=True)
class Overdue:
    """A process that must be ended, since what it works on is not its own any more."""

    live: Live
    attempt: int | None
    """The attempt to give up first; None where the row is not this process's anyhow, or out of reach."""
    reason: str


@dataclass(slots=True)
class Watch:
    """Decides which processes must be ended. No I/O; times are seconds of any one monotonic clock.

    A core that can be asked stops by itself at its next checkpoint. One that is inside a GDAL call cannot, so its
    process is ended after ``grace_s``. So is one whose task was taken over, or that could not be confirmed, for a whole
    lease: what it publishes would only be refused by the fence.
    """

    lease_s: float
    grace_s: float
    _confirmed: dict[Live, float] = field(default_factory=dict[Live, float])
    _owned: set[Live] = field(default_factory=set[Live])
    _told: dict[Live, float] = field(default_factory=dict[Live, float])

    def keep(self, live: Iterable[Live], now: float) -> None:
        """Forget what has ended; a new one's lease begins now at the earliest."""
        kept = set(live)
        self._confirmed = {each: self._confirmed.get(each, now) for each in kept}
        self._owned &= kept

    def confirm(self, extended: Iterable[Live], asked_at: float) -> None:
        """Leases were extended by a statement that began at ``asked_at``."""
        self._confirmed.update((each, asked_at) for each in extended if each in self._confirmed)

    def seen(self, held: Iterable[Held], now: float) -> list[Overdue]:
        """The rows could be read: whose stage is closed, or whose task is another's, for longer than allowed."""
        running = {each.live: each for each in held if each.live in self._confirmed}
        # What has not claimed yet owns nothing it could lose; what has just finished leaves the pool in a moment.
        lost = self._owned - running.keys()
        self._owned |= running.keys()
        closed = {live for live, each in running.items() if each.must_stop}
        self._told = {live: self._told.get(live, now) for live in closed | lost}
        overdue: list[Overdue] = []
        for live, since in self._told.items():
            if live in closed and now - since >= self.grace_s:
                overdue.append(Overdue(live, running[live].attempt, "stage closed"))
            elif live in lost and now - since >= self.lease_s:
                overdue.append(Overdue(live, None, "lease lost"))
        return overdue

    def unseen(self, now: float) -> list[Overdue]:
        """The database is away: those whose lease has run out meanwhile."""
        return [
            Overdue(live, None, "cut off from the database")
            for live, since in self._confirmed.items()
            if now - since >= self.lease_s
        ]
