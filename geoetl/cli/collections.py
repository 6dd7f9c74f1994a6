"""``geoetl collection`` and ``geoetl search``: the catalogue."""

import json
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from geoetl.cli import output
from geoetl.errors import InvalidInput
from geoetl.models.catalogue import CollectionDefinition
from geoetl.worker.client import default_services

app = typer.Typer(help="Create and show STAC collections.", no_args_is_help=True)

CollectionId = Annotated[str, typer.Argument(help="Id of the collection.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def create(
    collection: CollectionId,
    description: Annotated[str, typer.Option(help="What a reader of the catalogue should know.")] = "",
    title: Annotated[str, typer.Option(help="A short name.")] = "",
    license_: Annotated[str, typer.Option("--license", help="SPDX expression, or `other`.")] = "other",
    as_json: AsJson = False,
) -> None:
    """Create a collection; its extent comes from its items."""
    try:
        definition = CollectionDefinition(
            id=collection, description=description or title or collection, title=title, license=license_
        )
    except ValidationError as exc:
        problem = exc.errors(include_url=False)[0]
        raise InvalidInput(
            f"Collection {collection!r} was not created: {problem['loc'][0]} {problem['msg']}.", code="bad-collection"
        ) from None
    made = default_services().catalogue.create_collection(definition)
    if as_json:
        output.print_json(made)
    else:
        output.say(f"{collection}  created")


@app.command()
def show(collection: CollectionId) -> None:
    """Print a collection as it is stored."""
    output.print_json(default_services().catalogue.get_collection(collection))


@app.command("list")
def list_collections(as_json: AsJson = False) -> None:
    """List the collections and how many items each has."""
    found = default_services().catalogue.list_collections()
    if as_json:
        output.print_json(found)
        return
    output.table("collection", "title", "items", rows=[(each.id, each.title, each.item_count) for each in found])
    if not found:
        output.note("No collections yet. `geoetl collection create --help` shows how to make one.")


def search(
    collection: Annotated[str | None, typer.Option(help="Only items of this collection.")] = None,
    bbox: Annotated[str | None, typer.Option(help="west,south,east,north in degrees.")] = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="Only this item. Repeatable.")] = None,
    time: Annotated[
        str | None, typer.Option("--datetime", help="RFC 3339 instant or interval, a/b, `..` open.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many items at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Search the catalogue, as any STAC API on it would."""
    request: dict[str, Any] = {"limit": limit}
    if collection:
        request["collections"] = [collection]
    if ids:
        request["ids"] = ids
    if time:
        request["datetime"] = time
    if bbox:
        request["bbox"] = _bbox(bbox)
    found = default_services().catalogue.search(request)
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            item["id"],
            item["collection"],
            item["properties"].get("datetime") or _interval(item["properties"]),
            ", ".join(f"{edge:.4f}" for edge in item["bbox"]),
            item["assets"]["data"]["href"] if "data" in item["assets"] else "",
        )
        for item in found["features"]
    ]
    output.table("item", "collection", "datetime", "bbox", "data", rows=rows)
    if not rows:
        output.note("No item matches.")


def _bbox(text: str) -> list[float]:
    try:
        numbers: list[float] = json.loads(f"[{text}]")
        west, south, east, north = (float(number) for number in numbers)
    except (ValueError, TypeError):
        raise InvalidInput(
            f"{text!r} is no bounding box.",
            code="bad-bbox",
            hint="Write west,south,east,north, for example 5,45,11,48.",
        ) from None
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise InvalidInput(
            f"{text!r} is no bounding box on Earth.",
            code="bad-bbox",
            hint="Longitudes go from -180 to 180, latitudes from -90 to 90, south first.",
        )
    return [west, south, east, north]


def _interval(properties: dict[str, Any]) -> str:
    return f"{properties.get('start_datetime', '..')}/{properties.get('end_datetime', '..')}"
