"""The settings as a page to read and as an ``.env`` file to fill in, generated from the models."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from geoetl.config.fields import SettingField, field_at, walk
from geoetl.config.settings import Settings

_INTRODUCTION = """\
# Settings

<!-- Generated from the models in geoetl/config by `geoetl config reference`. Do not edit. -->

Every setting is an environment variable. The environment wins over `.env` in the current folder, and that over
`geoetl.env`, which the embedded stack writes into its home. An empty value counts as not given. A name that is not
listed here is refused, so a misspelt one is noticed.

`geoetl config show` prints what is in effect and where each value came from, `geoetl config check` lists every
problem at once, `geoetl config template` prints a file to fill in.

The identity is Azure's own business: `AZURE_CLIENT_ID` (user-assigned managed identity, workload identity),
`AZURE_TENANT_ID`, `AZURE_FEDERATED_TOKEN_FILE` and `AZURE_TOKEN_CREDENTIALS` are read from the environment by
azure-identity.
"""


def reference_page() -> str:
    """The page ``docs/reference/settings.md``."""
    parts = [_INTRODUCTION]
    for section, fields in _sections():
        title = "General" if not section else ".".join(section)
        parts.append(f"\n## {title}\n\n")
        info = field_at(Settings, section)
        if info is not None and info.description:
            parts.append(f"{' '.join(info.description.split())}\n\n")
        parts.append("| variable | accepts | default | meaning |\n|---|---|---|---|\n")
        parts.extend(_row(field) for field in fields)
    return "".join(parts)


def template() -> str:
    """An ``.env`` file: what must be set, and the rest as comments with its default."""
    lines: list[str] = []
    for section, fields in _sections():
        lines += ["", f"# {'.'.join(section) or 'general'}"]
        for field in fields:
            lines.append(f"# {_meaning(field)}")
            is_demanded = field.is_required and not field.is_optional_group
            lines.append(f"{'' if is_demanded else '#'}{field.variable}={_default_text(field)}")
    return "\n".join(lines).lstrip() + "\n"


def _sections() -> Iterable[tuple[tuple[str, ...], list[SettingField]]]:
    # Stable: fields directly in the root come first, under no title.
    fields = sorted(walk(Settings), key=lambda field: len(field.location) > 1)
    for section, group in groupby(fields, key=lambda field: field.location[:-1]):
        yield section, list(group)


def _row(field: SettingField) -> str:
    default = _default_text(field)
    if field.is_required:
        shown = "required in this section" if field.is_optional_group else "**required**"
    else:
        shown = f"`{default}`" if default else ""
    accepts = field.accepts.replace("|", "\\|")
    meaning = _meaning(field).replace("|", "\\|")
    return f"| `{field.variable}` | {accepts} | {shown} | {meaning} |\n"


def _meaning(field: SettingField) -> str:
    return " ".join((field.info.description or "").split())


def _default_text(field: SettingField) -> str:
    default: Any = field.default
    if default is None:
        return ""
    # The temporary folder differs between machines; a page must not.
    return "the system's temporary folder" if isinstance(default, Path) and default.is_absolute() else str(default)
