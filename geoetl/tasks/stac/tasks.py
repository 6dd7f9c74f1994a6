"""Registers the catalogue core."""

from collections.abc import Callable
from typing import Any

from geoetl.models.tasks import TaskName
from geoetl.tasks.stac.catalogue import publish_items

CORES: dict[TaskName, Callable[..., Any]] = {TaskName.STAC_PUBLISH: publish_items}
