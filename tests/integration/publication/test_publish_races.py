"""Several who publish at the same time, or make a collection meanwhile."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from geoetl.config import DatabaseTarget
from geoetl.db.catalogue import Catalogue
from geoetl.db.collections import create_collection
from geoetl.db.connections import ConnectionSource, connect
from geoetl.db.items import lock_collection
from geoetl.errors import GeoEtlError, TransientError
from geoetl.models.catalogue import CollectionDefinition
from geoetl.models.publication import PublicationToken
from geoetl.models.refs import RunId
from geoetl.publication.ledger import Superseded
from geoetl.publication.publish import PostgresPublisher
from tests.integration.publication.conftest import OTHER, SCENES, Visible, publications, publish


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_greater_token_wins_a_race_whatever_the_order(
    publisher: PostgresPublisher, visible: Visible, order: tuple[int, int]
):
    for round_ in range(10):
        item_ids = [f"{round_}-{number}" for number in range(5)]
        barrier = threading.Barrier(2)

        def race(run: int, item_ids: list[str] = item_ids, barrier: threading.Barrier = barrier) -> GeoEtlError | None:
            barrier.wait()
            try:
                publish(publisher, run, item_ids)
            except Superseded as error:
                return error
            return None

        with ThreadPoolExecutor(2) as pool:
            refused = dict(zip(order, pool.map(race, order), strict=True))
        assert refused[2] is None
        assert visible.runs(*item_ids) == dict.fromkeys(item_ids, "run-2")


def test_collections_do_not_wait_for_each_other(
    publisher: PostgresPublisher, connections: ConnectionSource, business_db: DatabaseTarget
):
    with connect(business_db, application_name="holder") as holder, holder.transaction():
        lock_collection(holder, SCENES, timeout_s=1)
        publish(publisher, 1, ["a"], collection=OTHER)


def test_waiting_too_long_for_the_collection_is_transient(
    connections: ConnectionSource, business_db: DatabaseTarget, visible: Visible
):
    impatient = PostgresPublisher(connections, lock_timeout_s=0.3)
    with connect(business_db, application_name="holder") as holder, holder.transaction():
        lock_collection(holder, SCENES, timeout_s=1)
        with pytest.raises(TransientError, match="scenes"):
            publish(impatient, 1, ["a"])
    assert publish(impatient, 1, ["a"]) == ["a"]
    assert visible.runs("a") == {"a": "run-1"}


@pytest.mark.parametrize("is_made", [True, False], ids=["committed", "rolled back"])
def test_a_collection_that_somebody_makes_meanwhile_is_used_as_it_is(
    publisher: PostgresPublisher, catalogue: Catalogue, business_db: DatabaseTarget, is_made: bool
):
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with (
        ThreadPoolExecutor(1) as pool,
        connect(business_db, application_name="by hand") as holder,
        connect(business_db, application_name="looks on") as onlooker,
    ):
        with holder.transaction(force_rollback=not is_made):
            create_collection(holder, CollectionDefinition(id="new", description="By hand."))
            published = pool.submit(
                publisher.publish,
                "new",
                publications("run-1", ["a"], "new"),
                run_id=RunId("run-1"),
                job_id="job",
                token=PublicationToken(run_sequence=1, attempt=1),
                create_collection=True,
            )
            until = time.monotonic() + 20
            while onlooker.execute(waiting).fetchone() is None and not published.done():
                assert time.monotonic() < until
                time.sleep(0.01)
            assert not published.done()
        assert published.result(30) == ["a"]
    assert catalogue.get_collection("new")["description"] == ("By hand." if is_made else "new")
    assert catalogue.has_item("new", "a")
