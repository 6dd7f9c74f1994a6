"""How Flower is started, here and in its image."""

import sys
from pathlib import Path


def flower_command(*options: str) -> list[str]:
    """The command of a Flower of this installation's workers; its options may also be ``FLOWER_...`` variables."""
    configuration = Path(__file__).with_name("flowerconfig.py")
    return [sys.executable, "-m", "celery", "-A", "celery_app", "flower", f"--conf={configuration}", *options]
