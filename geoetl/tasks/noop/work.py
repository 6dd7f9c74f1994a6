"""Counting and being busy."""

import time

from geoetl.models.noop import CountInput, CountOutput, WorkInput, WorkOutput
from geoetl.tasks.context import TaskContext

_STEP_S = 0.1


def count(given: CountInput, ctx: TaskContext) -> CountOutput:
    """The number of tasks of the next stage."""
    return CountOutput(tasks=given.tasks)


def work(given: WorkInput, ctx: TaskContext) -> WorkOutput:
    """Stay busy, then square the index."""
    # Not zeros: the kernel would give them no memory before they are changed.
    held = b"\1" * (given.hold_bytes >> ctx.shrink)
    until = time.monotonic() + given.seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(_STEP_S, left))  # being busy is what this task is for
        ctx.checkpoint()
    del held
    return WorkOutput(square=given.index**2)
