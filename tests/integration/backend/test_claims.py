"""Claims of plain tasks: who may work, who may end, what a duplicate finds."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from geoetl.backend.claims import PlainClaims
from geoetl.backend.messages import capture


@pytest.fixture
def claims(connections) -> PlainClaims:
    return PlainClaims(connections, lease_s=30)


def claim(claims: PlainClaims, task_id: str, version: int = 0, owner: str = "w:1", send: str = "first"):
    return claims.claim(task_id, version, owner=owner, meta=None, send=send)


def test_of_many_deliveries_one_claims_and_one_ends(claims):
    ids = [str(uuid4()) for _ in range(100)]
    deliveries = ids * 4
    start = threading.Barrier(8)

    def work(part: int) -> list:
        start.wait()
        mine = [claim(claims, task_id) for task_id in deliveries[part::8]]
        return [claims.end(one, "ended") for one in mine if one]

    with ThreadPoolExecutor(8) as pool:
        ends = [end for part in pool.map(work, range(8)) for end in part]

    assert ends == [True] * 100


def test_an_expired_claim_is_taken_over_and_its_owner_comes_too_late(claims, connections):
    first = claim(claims, "a")
    assert claim(claims, "a", owner="w:2") is None
    connections().execute("UPDATE geoetl.result SET lease_until = now() - interval '1 second'")

    second = claim(claims, "a", owner="w:2")

    assert second.attempt == first.attempt + 1
    assert not claims.end(first, "ended")
    assert claims.end(second, "ended")


def test_an_ended_task_is_claimed_in_no_version(claims):
    claims.end(claim(claims, "a"), "ended")

    assert claim(claims, "a") is None
    assert claim(claims, "a", version=1) is None


def test_after_a_retry_only_the_later_version_is_claimed(claims):
    claims.end(claim(claims, "a"), "waiting")

    assert claim(claims, "a") is None
    assert not claims.is_running("a", 0)
    assert claim(claims, "a", version=1).version == 1


def test_a_task_that_has_ended_runs_again_for_another_send_only(claims):
    claims.end(claim(claims, "a", send="first"), "waiting")
    claims.end(claim(claims, "a", version=10_000, send="replacement"), "ended")

    assert claim(claims, "a", send="first") is None
    assert claim(claims, "a", version=10_000, send="replacement") is None
    again = claim(claims, "a", send="second")
    assert (again.version, again.attempt) == (0, 3)
    assert claim(claims, "a", send="third") is None, "not while it runs"


def test_a_revoked_message_does_not_run_when_it_comes_again(claims):
    claims.end_unclaimed("a", 0, "ended", owner=None, send="first")

    assert claim(claims, "a", send="first") is None
    assert claim(claims, "a", send="second") is not None


def test_a_released_claim_is_taken_at_once(claims):
    claim(claims, "a")
    claims.release("a", owner="w:9")
    assert claim(claims, "a") is None
    claims.release("a", owner="w:1")

    assert claim(claims, "a", owner="w:2") is not None


def test_only_live_owners_keep_their_leases(claims, connections):
    for task_id in "abc":
        claim(claims, task_id, owner=f"w:{task_id}")
    connections().execute("UPDATE geoetl.result SET lease_until = now() + interval '1 second'")

    claims.renew({"a": "w:a", "b": "w:other"})

    rows = connections().execute("SELECT task_id FROM geoetl.result WHERE lease_until > now() + interval '9 seconds'")
    assert rows.fetchall() == [("a",)]


def test_the_main_process_ends_only_what_nobody_else_works_on(claims):
    claim(claims, "a", owner="w:1")

    assert not claims.end_unclaimed("a", 0, "ended", owner=None)
    assert not claims.end_unclaimed("a", 0, "ended", owner="w:2")
    assert claims.end_unclaimed("a", 0, "ended", owner="w:1")
    assert not claims.end_unclaimed("a", 0, "ended", owner="w:1")
    assert claims.end_unclaimed("never started", 0, "ended", owner=None)


def test_a_duplicate_waits_in_one_copy_that_goes_when_the_owner_ends(claims, app, connections):
    with capture() as captured:
        app.signature("add", (1, 1)).apply_async(task_id="a")
    (message,) = captured.messages
    owned = claim(claims, "a")

    claims.put_aside(message, "a", 0)
    claims.put_aside(message, "a", 0)
    rows = connections().execute("SELECT dedupe, not_before > now() + interval '29 seconds' FROM geoetl.outbox")
    assert rows.fetchall() == [("a:0", True)]

    claims.end(owned, "ended")
    assert connections().execute("SELECT count(*) FROM geoetl.outbox").fetchone() == (0,)
    claims.put_aside(message, "a", 0)
    assert connections().execute("SELECT count(*) FROM geoetl.outbox").fetchone() == (0,)
