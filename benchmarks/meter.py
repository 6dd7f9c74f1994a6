"""Time of what geoetl does besides making a COG: measured where it happens, apart from the rest.

Functions of the package are wrapped in this process alone. Within a wrapped function others count for it.
"""

import functools
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoetl.tasks.raster import convert, inspect
from geoetl.tasks.raster.cog import assemble, bands, blocks, product, tiles

#: What each phase is made of: an owner and the names of its functions.
PHASES: dict[str, list[tuple[Any, str]]] = {
    "inspection": [(inspect, "read_everything"), (inspect, "_check_layout")],
    "statistics": [(bands, "_count")],
    "verification": [
        (tiles, "_verify"), (convert, "validate_cog"), (product, "is_strict_cog"), (product, "compare_headers"),
    ],
    "checksums": [(blocks, "block_id"), (convert, "sha256_of")],
    "description": [
        (convert, "read_facts"), (convert, "footprint"), (convert, "thumbnail_png"), (product, "footprint"),
        (product, "thumbnail_png"), (assemble, "require_data"),
    ],
}  # fmt: skip
#: GDAL's threads work for these while the task waits. Beside the others, threads of the task do other work.
_ALONE = {"inspection", "verification"}
_TRANSFERS = ("stage_block", "staged_blocks", "commit_blocks", "upload", "download", "read_range", "properties", "list")


@dataclass
class Meter:
    """Seconds by phase, bytes that went through the store, and the most that lay in scratch."""

    scratch: Path | None = None
    wall_s: dict[str, float] = field(default_factory=dict[str, float])
    cpu_s: dict[str, float] = field(default_factory=dict[str, float])
    moved_bytes: int = 0
    scratch_bytes: int = 0
    _inside: threading.local = field(default_factory=threading.local)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def install(self, store_class: type, *, has_parallel_verification: bool) -> None:
        """Wrap everything, for as long as this process lives.

        Args:
            store_class: Its methods are the transfers.
            has_parallel_verification: Whether tiles are verified while others are encoded.
        """
        self._alone: set[str] = set() if has_parallel_verification else _ALONE
        for phase, functions in PHASES.items():
            for owner, name in functions:
                self._wrap(owner, name, phase)
        for name in _TRANSFERS:
            self._wrap(store_class, name, "transfers")

    def reset(self) -> None:
        """Begin again."""
        self.wall_s, self.cpu_s, self.moved_bytes, self.scratch_bytes = {}, {}, 0, 0

    def figures(self) -> dict[str, Any]:
        return {
            "apart_wall_s": self.wall_s,
            "apart_cpu_s": self.cpu_s,
            "moved_bytes": self.moved_bytes,
            "scratch_bytes": self.scratch_bytes,
        }

    def _wrap(self, owner: Any, name: str, phase: str) -> None:
        function = getattr(owner, name)
        cpu_clock = time.process_time if phase in self._alone else time.thread_time

        @functools.wraps(function)
        def metered(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._inside, "phase", None):
                return function(*args, **kwargs)
            self._inside.phase = phase
            began, used = time.perf_counter(), cpu_clock()
            try:
                result = function(*args, **kwargs)
            finally:
                self._inside.phase = None
                with self._lock:
                    self.wall_s[phase] = self.wall_s.get(phase, 0.0) + time.perf_counter() - began
                    self.cpu_s[phase] = self.cpu_s.get(phase, 0.0) + cpu_clock() - used
            if phase == "transfers":
                self._count(name, args, kwargs, result)
            return result

        setattr(owner, name, metered)

    def _count(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        moved = {
            "stage_block": lambda: len(args[3]),
            "upload": lambda: result.size_bytes,
            "download": lambda: result.size_bytes,
            "read_range": lambda: len(result),
        }.get(name)
        with self._lock:
            self.moved_bytes += moved() if moved else 0
            if self.scratch is not None and self.scratch.exists():
                held = sum(path.stat().st_size for path in self.scratch.rglob("*") if path.is_file())
                self.scratch_bytes = max(self.scratch_bytes, held)
