"""Rules of the house that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "geoetl"
MODULES = sorted(PACKAGE.rglob("*.py"))
#: What opens a database connection.
OPENERS = {"connect", "ConnectionPool", "AsyncConnectionPool", "Connection"}


def calls(path: Path) -> list[str]:
    """Dotted names of everything a module calls."""
    tree = ast.parse(path.read_text())
    return [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]


#: The backend stands alone: an app that gives it only an URL has no `db` room.
OPENS_BY_URL = PACKAGE / "backend" / "connections.py"


def test_only_the_db_room_opens_connections():
    outside = [path for path in MODULES if not path.is_relative_to(PACKAGE / "db") and path != OPENS_BY_URL]

    opened = {
        f"{path.relative_to(PACKAGE)}: {call}"
        for path in outside
        for call in calls(path)
        if call.startswith(("psycopg.", "psycopg_pool.")) and call.rpartition(".")[2] in OPENERS
    }

    assert opened == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_fits_a_head(path):
    assert len(path.read_text().splitlines()) <= 300


def test_cores_know_neither_celery_nor_sql():
    cores = [
        path
        for path in (PACKAGE / "tasks").rglob("*.py")
        if path.parent != PACKAGE / "tasks" and path.name not in {"tasks.py", "__init__.py"}
    ]
    assert cores

    forbidden = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in cores
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name.split(".")[0] in {"celery", "kombu", "psycopg"} or name.startswith(("geoetl.db", "geoetl.engine"))
    }

    assert forbidden == set()


#: ``IN (SELECT … )`` without brackets inside.
_IN_SELECT = re.compile(r"IN \(\s*SELECT(?P<body>(?:[^()]|\([^()]*\))*)\)")
_CTE = re.compile(r"\bAS (?P<fixed>MATERIALIZED )?\(\s*SELECT(?P<body>(?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("sql/*.sql")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rows_are_chosen_once(path):
    """PostgreSQL may run a subquery again for every row it is joined with: with LIMIT or SKIP LOCKED it then chooses
    others each time, in quadratic time. Only ``AS MATERIALIZED`` and row locks in a CTE forbid that.
    """
    text = path.read_text()
    chosen_anew = [found["body"] for found in _IN_SELECT.finditer(text) if re.search("LIMIT|FOR UPDATE", found["body"])]
    chosen_anew += [
        found["body"]
        for found in _CTE.finditer(text)
        if re.search("LIMIT|FOR UPDATE", found["body"]) and not found["fixed"]
    ]

    assert chosen_anew == []
