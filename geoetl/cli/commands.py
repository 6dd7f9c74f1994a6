"""What the ``geoetl`` command consists of. A command is loaded when it is asked for: to load all takes seconds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

#: For commands that hand their options on to another program's.
_PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@dataclass(frozen=True, slots=True)
class _Command:
    module: str
    attribute: str
    """A function, or a ``typer.Typer`` of several."""
    help: str
    context_settings: dict[str, Any] = field(default_factory=dict[str, Any])


COMMANDS = {
    "submit": _Command("submit", "submit", "Check and start a job."),
    "plan": _Command("submit", "plan", "Show stages, tasks, queues and reasons of a job, without running it."),
    "preflight": _Command(
        "preflight", "preflight", "Check a job without starting it: every finding, and what was learned."
    ),
    "job": _Command("job_tasks", "app", "Look at jobs, wait for them, cancel and resume them."),
    "collection": _Command("collections", "app", "Create and show STAC collections."),
    "search": _Command("collections", "search", "Search the catalogue, as any STAC API on it would."),
    "queues": _Command("queues", "app", "Create, check and look into the Service Bus queues."),
    "catalog": _Command("catalog", "app", "Check the catalogue, rebuild it from the ledger, sweep the store."),
    "storage": _Command("storage", "app", "Look into the store, put blobs in, get them out, check and provision it."),
    "config": _Command("config", "app", "Show and check the settings."),
    "db": _Command("db", "app", "Provision, migrate, inspect and rebuild the databases."),
    "doctor": _Command("doctor", "doctor", "Try every service as a worker would: write, read, send, search."),
    "local": _Command("services", "local_app", "The whole stack on this machine, without Docker."),
    "demo": _Command(
        "demo", "demo", "Start everything on this machine and turn five real rasters into catalogued COGs."
    ),
    "relay": _Command("services", "relay", "Publish the outbox and return what dead workers held, until stopped."),
    "metrics": _Command("services", "show_metrics", "Print what the database says about the engine."),
    "flower": _Command("services", "flower", "Run Flower on the workers of the settings.", _PASSED_ON),
    "emulator": _Command("services", "emulator", "Run the Service Bus emulator alone.", _PASSED_ON),
}


class _Loaded(Mapping[str, Any]):
    """Commands by name, each loaded when it is taken."""

    def __getitem__(self, name: str) -> Any:
        listed = COMMANDS[name]
        found = getattr(import_module(f"geoetl.cli.{listed.module}"), listed.attribute)
        holder = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name)
        else:
            holder.command(name, context_settings=listed.context_settings)(found)
        return get_group(holder).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """A group that loads no command for its own help."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _Loaded()

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the help."""
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The names with what is listed of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])
