"""Published tables: what there is in the business database."""

from collections.abc import Callable

from geoetl.db.connections import Connection, database_errors


class PublishedTables:
    """Looks tables up in the business database. Asks for a connection at each call: may be made before a fork."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect

    def has_table(self, schema: str, table: str) -> bool:
        """Whether there is a table or view of that name, spelt exactly so.

        Raises:
            DatabaseUnavailable: The business database is away.
        """
        with database_errors(f"look for table {schema}.{table}"):
            row = self._connect().execute(
                "SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
                " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
                [schema, table],
            )
            return row.fetchone() is not None
