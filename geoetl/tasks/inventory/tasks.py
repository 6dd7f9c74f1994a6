"""Registers the cores of ``inventory``."""

from collections.abc import Callable
from typing import Any

from geoetl.models.tasks import TaskName
from geoetl.tasks.inventory.stock import checksum_blobs, list_blobs, write_inventory

CORES: dict[TaskName, Callable[..., Any]] = {
    TaskName.INVENTORY_LIST: list_blobs,
    TaskName.INVENTORY_CHECKSUM: checksum_blobs,
    TaskName.INVENTORY_WRITE: write_inventory,
}
