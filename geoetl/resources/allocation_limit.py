"""A bound that makes an allocation fail in the process that asks, where it can be named and told."""

import os
import resource
from collections.abc import Generator
from contextlib import contextmanager

from geoetl.resources.process_memory import data_bytes


@contextmanager
def allocation_limit(more_bytes: int | None) -> Generator[None]:
    """Let this process allocate so much more at most (RLIMIT_DATA), while the block lasts; None: no bound.

    Beyond it numpy raises ``MemoryError`` and GDAL says that it is out of memory. It bounds addresses, not pages in
    use, so it is no substitute for a look at those.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if more_bytes is not None:
        bound = data_bytes(os.getpid()) + more_bytes
        hard = before[1]
        resource.setrlimit(resource.RLIMIT_DATA, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
