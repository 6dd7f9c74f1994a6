"""One statement that keeps the leases of everything a worker's live processes work on."""

from collections.abc import Mapping

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries

SQL = load_queries("geoetl.engine.sql", "tasks.sql")


def beat(conn: Connection, live: Mapping[str, str], *, lease_s: float) -> set[str]:
    """Extend leases; the ids of tasks whose attempt must stop.

    Args:
        conn: Connection of the calling thread.
        live: Owner (``boot:pid``) by task id, of tasks that live processes have accepted.
        lease_s: From now, in seconds.
    """
    if not live:
        return set()
    rows = conn.execute(
        SQL["heartbeat"], {"ids": list(live), "workers": list(live.values()), "lease_s": lease_s}
    ).fetchall()
    return {str(task_id) for task_id, _, must_stop in rows if must_stop}
