"""``geoetl storage``: blobs of both tiers."""

import mimetypes
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, get_args

import typer

from geoetl.cli import output
from geoetl.errors import InvalidInput
from geoetl.health.diagnosis import ComponentCheck, diagnose
from geoetl.health.storage import check_tier
from geoetl.models.refs import BlobRef, Tier
from geoetl.worker.client import default_services

app = typer.Typer(help="Look into the store, put blobs in, get them out, check and provision it.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Uri = Annotated[str, typer.Argument(help="bronze://container/path or silver://container/path", metavar="URI")]
LocalFile = Annotated[Path, typer.Argument(help="A file of this machine.", metavar="FILE")]

_TIERS: tuple[Tier, ...] = get_args(Tier.__value__)


@app.command()
def check(as_json: AsJson = False) -> None:
    """Write, read, sign and delete a blob in each tier; exit status 1 if that does not work."""
    services = default_services()
    checks: dict[str, ComponentCheck] = {
        f"storage {tier}": partial(check_tier, services.store, tier, getattr(services.settings.storage, tier))
        for tier in _TIERS
    }
    answers = diagnose(checks)
    if as_json:
        output.print_json(answers)
    else:
        output.table(
            "component",
            "state",
            "detail",
            "what to do",
            rows=[(each.component, output.colored(each.state), each.detail, each.hint) for each in answers],
        )
    if any(each.state == "unhealthy" for each in answers):
        raise typer.Exit(output.EXIT_FAILED)


@app.command("ls")
def list_blobs(
    where: Annotated[str, typer.Argument(help="tier://container or tier://container/prefix", metavar="URI")],
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List blobs under a prefix."""
    tier, container, prefix = _parts(where)
    found = list(islice(default_services().store.list(tier, container, prefix), limit + 1))
    if as_json:
        output.print_json(found[:limit])
        return
    output.table(
        "blob",
        "bytes",
        "type",
        "modified",
        rows=[(blob.ref, blob.size_bytes, blob.content_type, blob.last_modified) for blob in found[:limit]],
    )
    if len(found) > limit:
        output.note(f"There are more than {limit}; raise --limit.")


@app.command()
def put(
    file: LocalFile,
    to: Uri,
    overwrite: Annotated[bool, typer.Option(help="Replace a blob that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a file."""
    if not file.is_file():
        raise InvalidInput(f"There is no file {file}.", code="file-missing")
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    written = default_services().store.upload(_ref(to), file, content_type=kind, overwrite=overwrite)
    if as_json:
        output.print_json(written)
    else:
        output.say(f"{output.plain(written.ref)}  {written.size_bytes} bytes")


@app.command()
def get(uri: Uri, file: LocalFile) -> None:
    """Download a blob into a file, or into a folder under its own name."""
    ref = _ref(uri)
    target = file / ref.name if file.is_dir() else file
    if not target.parent.is_dir():
        raise InvalidInput(f"There is no folder {target.parent}.", code="folder-missing")
    found = default_services().store.download(ref, target)
    output.say(f"{output.plain(str(target))}  {found.size_bytes} bytes")


@app.command()
def provision() -> None:
    """Create the configured containers where they are missing."""
    services = default_services()
    for tier in _TIERS:
        container = getattr(services.settings.storage, tier).container
        services.store.ensure_container(tier, container)
        output.say(f"{tier}://{container}  is there")


def _ref(uri: str) -> BlobRef:
    try:
        return BlobRef(uri)
    except ValueError as exc:
        raise InvalidInput(f"{exc}.", code="bad-uri") from None


def _parts(where: str) -> tuple[Tier, str, str]:
    tier, separator, rest = where.partition("://")
    container, _, prefix = rest.partition("/")
    if not separator or tier not in _TIERS or not container:
        raise InvalidInput(
            f"{where!r} names no container.",
            code="bad-uri",
            hint="Write bronze://container or silver://container/prefix.",
        )
    return tier, container, prefix
