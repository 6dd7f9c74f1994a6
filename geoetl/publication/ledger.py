"""The ledger: which artefact is the published one of an item, by which run, under which token."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import batched

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from geoetl.db.connections import Connection, database_errors
from geoetl.errors import GeoEtlError, LeaseLost
from geoetl.models.publication import Publication, PublicationToken
from geoetl.models.refs import RunId

#: Gives the calling thread's connection to the business database, in autocommit mode (``ConnectionSource``).
type ConnectionFactory = Callable[[], Connection]


#: Rows per statement: bounds its size, not that of the transaction.
CHUNK_ROWS = 1000


class Superseded(GeoEtlError):
    """A newer run has published the same item; what this run made must not replace it."""

    blame = "nobody"
    default_code = "superseded"


@dataclass(frozen=True, slots=True)
class Artefact:
    """A row of the ledger."""

    collection: str
    item_id: str
    artefact_uri: str
    etag: str
    size_bytes: int
    sha256: str
    run_id: RunId
    job_id: str
    token_run: int
    token_attempt: int
    state: str
    published_at: dt.datetime

    @property
    def token(self) -> PublicationToken:
        return PublicationToken(run_sequence=self.token_run, attempt=self.token_attempt)


class Ledger:
    """Reads and writes the ledger. Asks for a connection at each call, so it may be made before a fork."""

    def __init__(self, connections: ConnectionFactory) -> None:
        self._connections = connections

    def artefacts(self, run_id: RunId) -> list[Artefact]:
        """What the run published and nothing has superseded since, by collection and item id."""
        with database_errors("read the ledger of artefacts"):
            cursor = self._connections().cursor(row_factory=class_row(Artefact))
            return cursor.execute(read_sql("artefacts_of_run"), {"run_id": run_id}).fetchall()

    def is_published(self, run_id: RunId) -> bool:
        """Whether the run published something and every bit of it is still the published one."""
        with database_errors("read the ledger of artefacts"):
            row = self._connections().execute(read_sql("is_published"), {"run_id": run_id}).fetchone()
        return bool(row and row[0])


def record_artefacts(
    connection: Connection,
    collection: str,
    publications: Sequence[Publication],
    *,
    run_id: RunId,
    job_id: str,
    token: PublicationToken,
) -> None:
    """Set the token and the artefact of every item, inside the caller's transaction.

    Raises:
        LeaseLost: A later attempt of the same run has published.
        Superseded: A later run has published one of the items. On both the caller must roll back.
    """
    for chunk in batched(publications, CHUNK_ROWS):
        _record_chunk(connection, collection, chunk, run_id=run_id, job_id=job_id, token=token)


def _record_chunk(
    connection: Connection,
    collection: str,
    publications: Sequence[Publication],
    *,
    run_id: RunId,
    job_id: str,
    token: PublicationToken,
) -> None:
    item_ids = [str(publication.item["id"]) for publication in publications]
    parameters = {
        "collection": collection,
        "item_ids": item_ids,
        "artefact_uris": [publication.artefact_uri for publication in publications],
        "etags": [publication.etag for publication in publications],
        "sizes_bytes": [publication.size_bytes for publication in publications],
        "sha256s": [publication.sha256 for publication in publications],
        "items": Jsonb([publication.item for publication in publications]),
        "run_id": run_id,
        "job_id": job_id,
        "token_run": token.run_sequence,
        "token_attempt": token.attempt,
    }
    recorded = connection.execute(read_sql("record_artefacts"), parameters).fetchall()
    if len(recorded) == len(item_ids):
        return
    cursor = connection.cursor(row_factory=class_row(Artefact))
    raise _refusal(cursor.execute(read_sql("refusing_artefacts"), parameters).fetchall(), run_id, token)


def _refusal(refusing: Sequence[Artefact], run_id: RunId, token: PublicationToken) -> GeoEtlError:
    newest = max(refusing, key=lambda artefact: artefact.token)
    found = (
        f"Publishing {len(refusing)} item(s) of collection {newest.collection!r} under token {token} was refused: "
        f"{newest.item_id!r} is published under {newest.token} by run {newest.run_id}."
    )
    if newest.run_id == run_id:
        return LeaseLost(found, code="superseded", hint="A later attempt of this task has published; nothing to do.")
    return Superseded(found, hint="The newer run's products stay. Submit with `force` to replace them.")


def read_sql(name: str) -> bytes:
    """The statement ``sql/<name>.sql`` of this room."""
    return (resources.files("geoetl.publication") / "sql" / f"{name}.sql").read_bytes()
