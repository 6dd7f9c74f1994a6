"""Collections of the catalogue, inside a transaction of the caller."""

from psycopg.types.json import Jsonb

from geoetl.db.connections import Connection
from geoetl.db.items import StacObject, pgstac_session
from geoetl.db.statements import read_statement
from geoetl.models.catalogue import CollectionDefinition

_STAC_VERSION = "1.1.0"
#: What STAC demands of a collection that has no items yet: an extent that excludes nothing. The first item replaces it.
_UNKNOWN_EXTENT = {"spatial": {"bbox": [[-180.0, -90.0, 180.0, 90.0]]}, "temporal": {"interval": [[None, None]]}}


def has_collection(connection: Connection, collection: str) -> bool:
    """Whether there is one of this id."""
    return connection.execute("SELECT FROM pgstac.collections WHERE id = %s", [collection]).fetchone() is not None


def create_collection(connection: Connection, definition: CollectionDefinition) -> StacObject:
    """Create a collection without items; it as stored.

    Raises:
        psycopg.errors.UniqueViolation: There is one of this id, whatever it says.
    """
    collection: StacObject = {
        "type": "Collection",
        "stac_version": _STAC_VERSION,
        "id": definition.id,
        "description": definition.description,
        "license": definition.license,
        "extent": _UNKNOWN_EXTENT,
        "links": [],
    }
    if definition.title:
        collection["title"] = definition.title
    if definition.keywords:
        collection["keywords"] = list(definition.keywords)
    with pgstac_session(connection):
        add_collection(connection, collection)
    # What the catalogue is made anew from.
    connection.execute(
        "INSERT INTO geoetl.collection (id, content) VALUES (%s, %s)"
        " ON CONFLICT (id) DO UPDATE SET content = excluded.content",
        [definition.id, Jsonb(collection)],
    )
    return collection


def add_collection(connection: Connection, collection: StacObject) -> None:
    """Store a collection as it is, with its one partition; inside `pgstac_session`.

    Raises:
        psycopg.errors.UniqueViolation: There is one of this id, whatever it says.
    """
    connection.execute("SELECT pgstac.create_collection(%s)", [Jsonb(collection)])
    connection.execute(read_statement("create_partition"), [collection["id"]])
    connection.execute("SELECT pgstac.geoetl_harden_partitions()")
