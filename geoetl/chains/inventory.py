"""``inventory``: names, sizes and checksums of all blobs of a container, in one CSV file in Silver."""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from geoetl.chains.definition import JobDefinition, JobSpec, Progress, Stage, TaskCall
from geoetl.models.inventory import ChecksumInput, ChecksumOutput, ListInput, ListOutput, WriteInput, WriteOutput
from geoetl.models.refs import BlobRef
from geoetl.models.tasks import TaskName


class Inventory(JobSpec):
    """Take stock of a container of Bronze."""

    job_type: ClassVar[str] = "inventory"

    container: str = Field(pattern=r"^[a-z0-9](?:-?[a-z0-9]){2,62}$")
    """The container."""
    prefix: str = ""
    """Only blobs whose path begins with this."""
    per_task: int = Field(default=100, ge=1, le=10_000)
    """How many blobs one task reads."""
    label: str = ""
    """Makes two inventories of the same container different jobs, for example a date."""


def find(spec: Inventory, progress: Progress) -> Sequence[TaskCall]:
    """One task lists the container."""
    given = ListInput(container=spec.container, prefix=spec.prefix, per_task=spec.per_task)
    return [TaskCall(TaskName.INVENTORY_LIST, given, label=f"list {spec.container}")]


def checksum(spec: Inventory, progress: Progress) -> Sequence[TaskCall]:
    """As many tasks as the listing has portions."""
    (listed,) = progress.results("find", ListOutput)
    return [
        TaskCall(TaskName.INVENTORY_CHECKSUM, ChecksumInput(blobs=portion), label=f"{len(portion)} blobs")
        for portion in listed.portions
    ]


def write(spec: Inventory, progress: Progress) -> Sequence[TaskCall]:
    """One task writes what all found."""
    entries = tuple(entry for part in progress.results("checksum", ChecksumOutput) for entry in part.entries)
    container = progress.settings.storage.silver.container
    target = BlobRef.of("silver", container, f"inventories/{spec.container}/{progress.run_id}.csv")
    return [
        TaskCall(TaskName.INVENTORY_WRITE, WriteInput(entries=entries, target=target), label=f"write {target.name}")
    ]


def summarise(spec: Inventory, progress: Progress) -> dict[str, Any]:
    """Where the file is and what it says."""
    (written,) = progress.results("write", WriteOutput)
    return written.model_dump(mode="json")


definition = JobDefinition(
    spec=Inventory,
    version=1,
    stages=(Stage("find", find), Stage("checksum", checksum), Stage("write", write)),
    summarise=summarise,
)
