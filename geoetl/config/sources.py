"""Where settings come from: the environment, ``.env``, and the file that the embedded stack writes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import override

from dotenv import dotenv_values
from pydantic_settings import BaseSettings, EnvSettingsSource

#: Every variable of ours starts with it.
PREFIX = "GEOETL_"
#: Between the parts of a name: ``GEOETL_DATABASE__APP__HOST``.
DELIMITER = "__"
#: Name of the file that the embedded stack writes into its home.
STACK_ENV_FILE = "geoetl.env"
#: Read by the embedded stack and by the tests alone, so no setting has these names.
UNCHECKED_PREFIXES = ("GEOETL_TOOLS", "GEOETL_TEST_")


@dataclass(frozen=True, slots=True)
class Variable:
    """One value and where it came from."""

    name: str
    value: str
    origin: str
    """``the environment``, or the path of a file."""


def home_of(environ: Mapping[str, str], cwd: Path) -> Path:
    """The embedded stack's folder: ``GEOETL_HOME``, else ``.geoetl`` in the current folder. Absolute."""
    return (cwd / environ.get("GEOETL_HOME", ".geoetl")).absolute()


def read_variables(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> dict[str, Variable]:
    """All variables of ours by upper-case name; the environment wins over ``.env``, that over the stack's file.

    Empty values count as not given, so that a container can blank a variable of its image.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    dotenv = cwd / ".env"
    layers: list[tuple[str, Mapping[str, str | None]]] = [(str(dotenv), _read_file(dotenv))]
    home = home_of({**_given(layers[0][1]), **environ}, cwd)
    layers.insert(0, (str(home / STACK_ENV_FILE), _read_file(home / STACK_ENV_FILE)))
    layers.append(("the environment", environ))
    found: dict[str, Variable] = {}
    for origin, values in layers:
        for name, value in _given(values).items():
            if name.upper().startswith(PREFIX):
                found[name.upper()] = Variable(name.upper(), value, origin)
    found["GEOETL_HOME"] = Variable("GEOETL_HOME", str(home), found.get("GEOETL_HOME", _DEFAULT_HOME).origin)
    return found


_DEFAULT_HOME = Variable("GEOETL_HOME", "", "the default")


def _read_file(path: Path) -> Mapping[str, str | None]:
    # interpolate=False: a "$" in a password is a "$".
    return dotenv_values(path, interpolate=False) if path.is_file() else {}


def _given(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


class VariableSource(EnvSettingsSource):
    """pydantic-settings' reading of nested names, over variables that were already collected."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, Variable]) -> None:
        self._variables = variables
        super().__init__(settings_cls)

    @override
    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): variable.value for name, variable in self._variables.items()}
