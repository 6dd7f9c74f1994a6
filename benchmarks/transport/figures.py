"""What was measured: medians, and the lines that are printed last."""

import statistics
from collections.abc import Iterable


class Figures:
    """Named figures in the order they were added."""

    def __init__(self) -> None:
        self._by_name: dict[str, float] = {}

    def add(self, name: str, value: float | None) -> None:
        """Add a figure; None when it could not be measured, which leaves it out."""
        if value is not None:
            self._by_name[name] = value

    def print(self) -> None:
        print()
        for name, value in self._by_name.items():
            print(f"{name}={value:.4g}" if abs(value) < 1000 else f"{name}={value:.0f}")


def median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
