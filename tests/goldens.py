"""What people read, kept as files in ``tests/golden`` so that a change of wording is seen and meant.

``GEOETL_TEST_GOLDEN=write`` writes them anew; look at the difference before you commit it.
"""

import os
from pathlib import Path

_GOLDEN = Path(__file__).parent / "golden"


def compare(name: str, text: str) -> None:
    """Fail where ``text`` is not what the file ``name`` says."""
    path = _GOLDEN / name
    lines = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    if os.environ.get("GEOETL_TEST_GOLDEN") == "write":
        path.write_text(lines)
    assert lines == path.read_text()
