"""SQL kept in ``.sql`` files: named blocks, one statement each.

A block starts with ``-- name --`` on a line of its own and ends where the next begins (the form of
procrastinate's ``queries.sql``). The text is returned as bytes, which psycopg takes without asking whether a
string was built by hand.
"""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


@cache
def load_queries(package: str, file: str) -> dict[str, bytes]:
    """Named statements of ``file`` in ``package``, for example ``("geoetl.backend.sql", "outbox.sql")``."""
    parts = _NAME.split(files(package).joinpath(file).read_text(encoding="utf-8"))
    return {name: body.strip().removesuffix(";").encode() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
