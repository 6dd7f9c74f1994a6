"""What the background thread does with tokens, a look at a time."""

import logging

import pytest

from geoetl import identity as room
from geoetl.identity import POSTGRES_SCOPE
from tests.integration.identity.conftest import IdentityEndpoint

SCOPES = (POSTGRES_SCOPE,)
POSTGRES = POSTGRES_SCOPE.removesuffix("/.default")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, endpoint: IdentityEndpoint):
    """Tokens, one fetched, at which no thread looks; whoever looks finds them about to end."""
    monkeypatch.setattr(room, "REFRESH_AT_PART_LEFT", 1.0)
    kept = room._KeptTokens("")
    kept._fetch(SCOPES)
    return kept


def test_an_endpoint_that_goes_away_and_comes_back_is_told_once_each(
    kept, endpoint: IdentityEndpoint, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, room.__name__)
    old = kept.get(SCOPES)
    endpoint.newest.clear()

    endpoint.is_cut_off = True
    for _ in range(3):
        kept.refresh()
    assert kept.get(SCOPES) is old
    endpoint.is_cut_off = False
    for _ in range(3):
        kept.refresh()

    assert kept.get(SCOPES).token != old.token
    told = [record for record in caplog.records if record.name == room.__name__]
    assert [(record.levelname, record.getMessage().split(",")[0]) for record in told] == [
        ("WARNING", f"no new token for {POSTGRES_SCOPE}"),
        ("INFO", f"new tokens for {POSTGRES_SCOPE} again"),
    ]


def test_of_two_tokens_that_end_at_once_the_newer_is_kept(kept, endpoint: IdentityEndpoint):
    endpoint.newest[POSTGRES] = "newer", endpoint.newest[POSTGRES][1]
    kept.refresh()
    assert kept.get(SCOPES).token == "newer"
