"""All settings of a process, and the one error that lists everything wrong with them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import override

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from geoetl.config.broker import BrokerSettings
from geoetl.config.database import DatabaseSettings
from geoetl.config.fields import field_at, is_secret, model_of, variable_name
from geoetl.config.limits import LimitSettings
from geoetl.config.log import LogSettings
from geoetl.config.raster import RasterSettings
from geoetl.config.sources import DELIMITER, PREFIX, UNCHECKED_PREFIXES, Variable, VariableSource, read_variables
from geoetl.config.storage import StorageSettings
from geoetl.config.worker import WorkerSettings
from geoetl.errors import InvalidInput


class SettingsInvalid(InvalidInput):
    """The settings are missing or wrong; the message lists every problem."""

    default_code = "settings-invalid"


class Settings(BaseSettings):
    """Everything a process needs to know. ``Settings(...)`` takes only what it is given; see `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    home: Path = Path(".geoetl")
    """Folder of the embedded stack."""
    database: DatabaseSettings
    """The two databases."""
    storage: StorageSettings
    """The two tiers of blobs."""
    broker: BrokerSettings
    """The Service Bus namespace."""
    raster: RasterSettings = Field(default_factory=RasterSettings)
    """How rasters are routed and worked on."""
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    """How a worker works."""
    limits: LimitSettings = Field(default_factory=LimitSettings)
    """What a job may ask for."""
    log: LogSettings = Field(default_factory=LogSettings)
    """How processes log."""

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Reading the environment is load_settings' job: it knows where each value came from.
        return (init_settings,)


def load_settings(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Settings:
    """Settings of this process: from the environment, else ``.env``, else ``<GEOETL_HOME>/geoetl.env``.

    Args:
        environ: Instead of this process's environment.
        cwd: Instead of the current folder: where ``.env`` and a relative ``GEOETL_HOME`` are looked for.

    Raises:
        SettingsInvalid: With every problem, the variable's name and what it accepts. Secrets are not in it.
    """
    variables = read_variables(environ, cwd)
    unusable = {name: _misnamed(variable) for name, variable in variables.items()}
    problems = [problem for problem in unusable.values() if problem]
    usable = {name: variable for name, variable in variables.items() if not unusable[name]}
    settings: Settings | None = None
    try:
        settings = Settings(**VariableSource(Settings, usable)())
    except ValidationError as exc:
        # Without the URLs and inputs that pydantic would add: an input may be a secret.
        details = exc.errors(include_url=False, include_context=False)
        if all(detail["type"] == "missing" and len(detail["loc"]) == 1 for detail in details) and not problems:
            raise _nothing_configured(details) from None
        problems += [_problem(detail, variables) for detail in details]
    if problems or settings is None:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise SettingsInvalid(f"{len(problems)} problem(s) with the settings:\n{lines}")
    return settings


def _misnamed(variable: Variable) -> str:
    """What is wrong with a variable's name at the top level; pydantic itself reports names inside a section."""
    location = variable.name.removeprefix(PREFIX).lower().split(DELIMITER)
    if variable.name.startswith(UNCHECKED_PREFIXES):
        return ""
    if location[0] not in Settings.model_fields:
        sections = ", ".join(sorted(PREFIX + name.upper() for name in Settings.model_fields))
        return f"{variable.name} (from {variable.origin}) is not a setting. Names start with one of {sections}."
    field = field_at(Settings, location)
    parts = model_of(field.annotation).model_fields if field else {}
    if parts:
        examples = ", ".join(variable.name + DELIMITER + part.upper() for part in parts)
        return f"{variable.name} (from {variable.origin}) is a group of settings, not one. Set {examples}."
    return ""


def _nothing_configured(details: Iterable[ErrorDetails]) -> SettingsInvalid:
    missing = ", ".join(PREFIX + str(detail["loc"][0]).upper() + DELIMITER + "…" for detail in details)
    return SettingsInvalid(
        f"geoetl does not know its services: {missing} not set.",
        code="settings-missing",
        hint="Run `geoetl local up` to start them all on this machine, or set GEOETL_DATABASE__APP__HOST and so on.",
    )


def _problem(detail: ErrorDetails, variables: Mapping[str, Variable]) -> str:
    location = [str(part) for part in detail["loc"]]
    name = variable_name(location)
    variable = variables.get(name)
    message = detail["msg"].removeprefix("Value error, ")
    match detail["type"]:
        case "missing":
            found = "is not set"
            message = ""
        case "extra_forbidden":
            found = "is not a setting"
            section = field_at(Settings, location[:-1])
            names = model_of(section.annotation).model_fields if section else {}
            message = f"known here: {', '.join(names)}"
        case _ if variable is None:
            found = "is wrong"
        case _:
            field = field_at(Settings, location)
            shown = "a secret value" if field is None or is_secret(field) else repr(variable.value)
            found = f"is {shown} (from {variable.origin})"
    field = field_at(Settings, location)
    meaning = f" Meaning: {field.description}" if field and field.description and variable else ""
    return f"{name} {found}{f': {message}' if message else ''}.{meaning}"
