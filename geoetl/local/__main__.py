"""``python -m geoetl.local up|down|status|reset``."""

import argparse
import os
import sys
from pathlib import Path

from geoetl.config.sources import home_of
from geoetl.errors import GeoEtlError
from geoetl.local.stack import Stack


def main() -> int:
    """Run one command; 0 where it worked, and for ``status`` where every service is healthy."""
    parser = argparse.ArgumentParser(prog="python -m geoetl.local", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "reset"])
    parser.add_argument("--workers", action="store_true", help="with up: also start the workers")
    parser.add_argument("--flower", action="store_true", help="with up: also start Flower")
    arguments = parser.parse_args()
    stack = Stack(home_of(os.environ, Path.cwd()))
    try:
        match arguments.command:
            case "up":
                stack.up(_say, workers=arguments.workers, flower=arguments.flower)
            case "down":
                stack.down(_say)
            case "reset":
                stack.reset(_say)
            case _:
                return _show_status(stack)
    except GeoEtlError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


def _show_status(stack: Stack) -> int:
    components = stack.status()
    for component in components:
        _say(f"{component.name:16} {component.health.state:10} {component.health.detail}  log: {component.log}")
    services = [component for component in components if not component.name.startswith("worker-")]
    return 0 if all(component.health.state == "healthy" for component in services) else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
