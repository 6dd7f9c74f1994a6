"""The file through which every command finds the running stack."""

import os
from collections.abc import Mapping
from pathlib import Path

from geoetl.config.database import DatabaseTarget

_HEADER = "# Written by `geoetl local up`; the environment and .env win over it.\n"


def database_variables(name: str, target: DatabaseTarget) -> dict[str, str]:
    """The variables that make ``settings.database.<name>`` this target."""
    prefix = f"GEOETL_DATABASE__{name.upper()}__"
    fields = target.model_dump(include={"host", "port", "dbname", "user"})
    return {prefix + field.upper(): str(value) for field, value in fields.items()}


def write_environment(path: Path, variables: Mapping[str, str]) -> None:
    """Replace the file as a whole; it holds keys, so nobody else may read it."""
    text = _HEADER + "".join(f"{name}={_quote(value)}\n" for name, value in variables.items())
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    fresh.replace(path)


def _quote(value: str) -> str:
    # Single quotes, as python-dotenv and a POSIX shell both read them.
    if "'" in value or "\n" in value:
        raise ValueError("a value with a single quote or a line break cannot be written to an environment file")
    return f"'{value}'"
