"""Which runs may still write or be gone on with: for whoever removes what runs leave behind."""

from collections.abc import Sequence

from geoetl.db.connections import Connection, database_errors


def unfinished_runs(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    """Those of the runs that are queued or running, or could be resumed (failed, cancelled). Unknown ones are not.

    Args:
        connection: To the app database.
        run_ids: Any UUIDs.

    Raises:
        DatabaseUnavailable: The app database is away.
    """
    with database_errors("look for unfinished runs"):
        rows = connection.execute(
            "SELECT id::text FROM geoetl.run WHERE id = ANY(%s::uuid[]) AND state <> 'completed'", [list(run_ids)]
        ).fetchall()
    return {row[0] for row in rows}
