"""Folders for the files of an attempt: removed after it, and after a process that was killed in the middle of one."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from geoetl.resources.held_files import HeldFile, left_behind

_PREFIX = "geoetl-"
_MARK = ".held"


@contextmanager
def scratch_folder(parent: Path) -> Generator[Path]:
    """An empty folder, for as long as the block lasts; what dead processes left in ``parent`` is removed before."""
    sweep(parent)
    with HeldFile(parent, _PREFIX, _MARK) as mark:
        folder = mark.path.with_suffix("")
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> int:
    """Remove the folders whose process has ended; how many."""
    removed = 0
    for mark in parent.glob(f"{_PREFIX}*{_MARK}"):
        with left_behind(mark) as is_left:
            if is_left:
                shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
                removed += 1
    return removed


def used_bytes(folder: Path) -> int:
    """What the files of a folder take on disk, sparse ones their blocks only. For a few files."""
    total = 0
    for parent, _, names in folder.walk():
        for name in names:
            try:
                total += (parent / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue  # gone since it was listed
    return total
