"""Publication on a real business database with pgSTAC."""

import psycopg
import pytest

from geoetl.config import DatabaseTarget
from geoetl.db.connections import ConnectionSource, connect
from geoetl.db.items import CollectionNotFound
from geoetl.errors import InvalidInput, LeaseLost, SystemFault, TransientError
from geoetl.models.publication import PublicationToken
from geoetl.models.refs import RunId
from geoetl.publication.ledger import Ledger, Superseded
from geoetl.publication.publish import PostgresPublisher
from tests.integration.publication.conftest import OTHER, SCENES, Visible, publications, publish
from tests.stack import TestDatabases


def test_published_items_are_searchable_and_in_the_ledger(
    publisher: PostgresPublisher, ledger: Ledger, visible: Visible
):
    assert publish(publisher, 1, ["b", "a"]) == ["b", "a"]

    assert visible.runs("a", "b") == {"a": "run-1", "b": "run-1"}
    first, second = ledger.artefacts(RunId("run-1"))
    assert (first.item_id, second.item_id) == ("a", "b")
    assert first.artefact_uri == "silver://silver/scenes/a/run-1/a.tif"
    assert (first.collection, first.etag, first.size_bytes, first.job_id) == (SCENES, "etag-run-1", 1024, "job")
    assert first.token == PublicationToken(run_sequence=1, attempt=1)
    assert ledger.is_published(RunId("run-1"))
    assert not ledger.is_published(RunId("run-2"))


def test_collection_extent_follows_its_items(publisher: PostgresPublisher, connections: ConnectionSource):
    publish(publisher, 1, ["a"])
    row = connections().execute("SELECT content->'extent' FROM pgstac.collections WHERE id = %s", [SCENES]).fetchone()
    assert row
    assert row[0]["spatial"]["bbox"] == [[10.0, 50.0, 10.0, 50.0]]
    assert row[0]["temporal"]["interval"][0][0].startswith("2024-05-01T10:00:00")


def test_repeating_a_publication_changes_nothing(publisher: PostgresPublisher, ledger: Ledger, visible: Visible):
    publish(publisher, 1, ["a", "b"])
    before = ledger.artefacts(RunId("run-1"))
    assert publish(publisher, 1, ["a", "b"]) == ["a", "b"]
    assert ledger.artefacts(RunId("run-1")) == before
    assert visible.runs("a", "b") == {"a": "run-1", "b": "run-1"}
    assert ledger.is_published(RunId("run-1"))


def test_newer_run_replaces_and_history_is_kept(
    publisher: PostgresPublisher, ledger: Ledger, visible: Visible, connections: ConnectionSource
):
    publish(publisher, 1, ["a", "b"])
    publish(publisher, 2, ["b"])

    assert visible.runs("a", "b") == {"a": "run-1", "b": "run-2"}
    assert [artefact.item_id for artefact in ledger.artefacts(RunId("run-1"))] == ["a"]
    assert not ledger.is_published(RunId("run-1"))
    assert ledger.is_published(RunId("run-2"))
    history = connections().execute("SELECT item_id, run_id, superseded_by_run FROM geoetl.artefact_history").fetchall()
    assert history == [("b", "run-1", "run-2")]


def test_old_run_that_wakes_later_is_refused_whole(publisher: PostgresPublisher, ledger: Ledger, visible: Visible):
    publish(publisher, 2, ["b"])
    with pytest.raises(Superseded, match=r"'b' is published under .*run-2") as caught:
        publish(publisher, 1, ["a", "b", "c"])
    assert (caught.value.code, caught.value.retryable) == ("superseded", False)
    assert visible.runs("a", "b", "c") == {"b": "run-2"}
    assert ledger.artefacts(RunId("run-1")) == []


def test_zombie_attempt_has_lost_its_lease(publisher: PostgresPublisher, ledger: Ledger):
    publish(publisher, 1, ["a"], attempt=2)
    with pytest.raises(LeaseLost) as caught:
        publish(publisher, 1, ["a"], attempt=1)
    assert caught.value.code == "superseded"
    assert ledger.artefacts(RunId("run-1"))[0].token.attempt == 2


#: What goes wrong, as the body of a trigger that fires when the collection's extent is updated: after the load.
DISTURBANCES = {
    "connection killed": ("PERFORM pg_terminate_backend(pg_backend_pid());", TransientError),
    "row lost": ("DELETE FROM pgstac.items WHERE id = 'b';", SystemFault),
    "old row kept": (
        """UPDATE pgstac.items SET content = '{"assets": {"data": {"href": "stale"}}}' WHERE id = 'b';""",
        SystemFault,
    ),
}


@pytest.mark.parametrize("name", DISTURBANCES)
def test_publication_that_fails_half_way_leaves_nothing(
    publisher: PostgresPublisher,
    *,
    ledger: Ledger,
    visible: Visible,
    business_db: DatabaseTarget,
    databases: TestDatabases,
    name: str,
):
    body, error = DISTURBANCES[name]
    with connect(databases.cluster.target(business_db.dbname), application_name="tests") as admin:
        admin.execute(f"""
            CREATE FUNCTION public.disturb() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$;
            CREATE TRIGGER disturb AFTER UPDATE ON pgstac.collections EXECUTE FUNCTION public.disturb();
        """)  # pyright: ignore[reportArgumentType]  # no literal, but all of it is in this file
        with pytest.raises(error) as caught:
            publish(publisher, 1, ["a", "b", "c"])
        if error is SystemFault:
            assert caught.value.code == "read-back-failed"
            assert "1 of 3" in str(caught.value)
            assert "'b'" in str(caught.value)
        assert visible.runs("a", "b", "c") == {}
        assert ledger.artefacts(RunId("run-1")) == []
        admin.execute("DROP TRIGGER disturb ON pgstac.collections")

    assert publish(publisher, 1, ["a", "b", "c"], attempt=2) == ["a", "b", "c"]


def test_read_back_leaves_no_trace_in_pgstac(publisher: PostgresPublisher, connections: ConnectionSource):
    publish(publisher, 1, ["a", "b"])
    assert connections().execute("SELECT count(*) FROM pgstac.searches").fetchone() == (0,)


def test_missing_collection_is_named(publisher: PostgresPublisher, connections: ConnectionSource):
    with pytest.raises(CollectionNotFound, match=r"'nowhere'.*geoetl collection create nowhere") as caught:
        publish(publisher, 1, ["a"], collection="nowhere")
    assert caught.value.code == "collection-missing"
    assert connections().execute("SELECT count(*) FROM geoetl.artefact").fetchone() == (0,)


def test_item_that_pgstac_refuses_is_our_fault(publisher: PostgresPublisher, ledger: Ledger):
    good, bad = publications("run-1", ["a", "b"])
    bad.item["geometry"] = {"type": "Pint", "coordinates": [1, 2]}
    with pytest.raises(SystemFault, match="refused it") as caught:
        publisher.publish(
            SCENES, [good, bad], run_id=RunId("run-1"), job_id="job", token=PublicationToken(run_sequence=1, attempt=1)
        )
    assert caught.value.code == "catalogue-refused"
    assert ledger.artefacts(RunId("run-1")) == []


def test_database_away_is_transient(business_db: DatabaseTarget):
    away = ConnectionSource(business_db.model_copy(update={"host": "/nonexistent"}), application_name="tests")
    with pytest.raises(TransientError):
        publish(PostgresPublisher(away), 1, ["a"])


@pytest.mark.parametrize(
    ("item_ids", "collection", "words"),
    [([], SCENES, "nothing"), (["a", "a"], SCENES, "twice"), (["a"], OTHER, "name another")],
)
def test_malformed_publications_are_refused(
    publisher: PostgresPublisher, item_ids: list[str], collection: str, words: str
):
    with pytest.raises(InvalidInput, match=words):
        publisher.publish(
            SCENES,
            publications("run-1", item_ids, collection),
            run_id=RunId("run-1"),
            job_id="job",
            token=PublicationToken(run_sequence=1, attempt=1),
        )


def test_more_items_than_a_chunk_are_published_in_one_transaction(
    publisher: PostgresPublisher, ledger: Ledger, visible: Visible
):
    item_ids = [f"item-{number:05}" for number in range(1201)]
    assert publish(publisher, 1, item_ids) == item_ids
    assert [artefact.item_id for artefact in ledger.artefacts(RunId("run-1"))] == item_ids
    assert visible.runs("item-00000", "item-01200") == {"item-00000": "run-1", "item-01200": "run-1"}


@pytest.mark.parametrize(
    "statement", ["TRUNCATE geoetl.artefact", "DROP TABLE geoetl.artefact", "DROP SCHEMA geoetl CASCADE"]
)
def test_worker_role_cannot_destroy_the_ledger(connections: ConnectionSource, statement: str):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connections().execute(statement)  # pyright: ignore[reportArgumentType]
