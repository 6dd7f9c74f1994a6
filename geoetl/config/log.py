"""How processes log."""

from typing import Literal

from geoetl.config.section import Section


class LogSettings(Section):
    """What the lines of workers and of ``geoetl relay`` look like."""

    format: Literal["text", "json"] = "text"
    """`text` is for people, `json` (one object a line) for what collects logs. Both name job, run, stage, task and
    attempt in fields of their own."""
