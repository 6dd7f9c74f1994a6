"""``python -m geoetl.backend install postgresql://user@host/dbname``: create the backend's tables there."""

import sys

import psycopg

from geoetl.backend.connections import UrlConnections
from geoetl.backend.schema import install

_ADDRESS = "postgresql://[user[:password]@]host[:port]/dbname"
_USAGE = f"usage: python -m geoetl.backend install {_ADDRESS}"


def main(words: list[str]) -> int:
    """Run the command; the exit status."""
    match words:
        case ["install", url]:
            try:
                connections = UrlConnections(url.removeprefix("geoetl+"))
            except psycopg.ProgrammingError:
                # libpq's own words may quote the password.
                print(f"The address of the database cannot be read; what is accepted: {_ADDRESS}", file=sys.stderr)  # noqa: T201 - a command
                return 2
            try:
                install(connections())
            except psycopg.Error as exc:
                print(f"Could not install the backend in {connections.address()}: {exc}", file=sys.stderr)  # noqa: T201 - a command
                return 1
            finally:
                connections.close()
            print(f"The backend is installed in {connections.address()}.")  # noqa: T201 - a command
            return 0
        case _:
            print(_USAGE, file=sys.stderr)  # noqa: T201 - a command
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
