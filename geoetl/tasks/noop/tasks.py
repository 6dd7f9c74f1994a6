"""Registers the cores of ``noop``."""

from collections.abc import Callable
from typing import Any

from geoetl.models.tasks import TaskName
from geoetl.tasks.noop.work import count, work

CORES: dict[TaskName, Callable[..., Any]] = {TaskName.NOOP_COUNT: count, TaskName.NOOP_WORK: work}
