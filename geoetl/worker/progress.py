"""A progress bar of a job for people, silence for everything else."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from geoetl.engine.rows import JobStatus
from geoetl.models.states import TaskState


@contextmanager
def show_progress(on_progress: Callable[[JobStatus], None] | None = None) -> Generator[Callable[[JobStatus], None]]:
    """What to call with each status: ``on_progress``, else a bar per stage on a terminal, else nothing."""
    if on_progress is not None:
        yield on_progress
        return
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars: dict[int, TaskID] = {}

        def tell(status: JobStatus) -> None:
            for stage in status.stages:
                if stage.no not in bars:
                    bars[stage.no] = progress.add_task(stage.name, total=stage.size, note="")
                running = stage.counts[TaskState.RUNNING]
                failed = stage.counts[TaskState.FAILED]
                note = f"{failed} failed" if failed else f"{running} running" if running else ""
                progress.update(bars[stage.no], completed=stage.share * stage.size, note=note)

        yield tell
