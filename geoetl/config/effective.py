"""What a process would use: every setting, its value with secrets masked, and where the value came from."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from geoetl.config.fields import SettingField, walk
from geoetl.config.settings import Settings, load_settings
from geoetl.config.sources import read_variables

#: Shown instead of a secret that is set.
MASK = "***"

#: Read by azure-identity itself, from the environment alone; the name and whether it is a secret.
AZURE_VARIABLES: Mapping[str, bool] = {
    "AZURE_CLIENT_ID": False,
    "AZURE_TENANT_ID": False,
    "AZURE_FEDERATED_TOKEN_FILE": False,
    "AZURE_AUTHORITY_HOST": False,
    "AZURE_TOKEN_CREDENTIALS": False,
    "AZURE_CLIENT_SECRET": True,
}


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """One line of ``geoetl config show``."""

    variable: str
    value: str
    """As text; `MASK` for a secret, empty where there is none."""
    origin: str
    """``the environment``, the path of a file, ``the default``, or ``not set``."""


def effective_values(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> list[EffectiveValue]:
    """Every setting of a process with this environment, and the Azure variables it would use.

    Raises:
        SettingsInvalid: See `load_settings`.
    """
    environ = os.environ if environ is None else environ
    settings = load_settings(environ, cwd)
    variables = read_variables(environ, cwd)
    values = [
        EffectiveValue(field.variable, _shown(found), _origin(field, found, variables))
        for field, found in _found(settings)
    ]
    values += [
        EffectiveValue(name, MASK if is_secret else environ[name], "the environment")
        for name, is_secret in AZURE_VARIABLES.items()
        if environ.get(name)
    ]
    return values


def _found(settings: Settings) -> Iterator[tuple[SettingField, Any]]:
    for field in walk(Settings):
        holder: BaseModel | None = settings
        for part in field.location[:-1]:
            holder = getattr(holder, part)
            if holder is None:  # a section that was left out
                break
        if holder is not None:
            yield field, getattr(holder, field.location[-1])


def _origin(field: SettingField, found: Any, variables: Mapping[str, Any]) -> str:
    if field.variable in variables:
        return variables[field.variable].origin
    return "not set" if found is None else "the default"


def _shown(found: Any) -> str:
    if found is None:
        return ""
    return MASK if isinstance(found, SecretStr) else str(found)
