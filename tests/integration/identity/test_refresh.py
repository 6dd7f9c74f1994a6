"""What the background thread does with tokens, a look at a time."""

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


def test_of_two_tokens_that_end_at_once_the_newer_is_kept(kept, endpoint: IdentityEndpoint):
    endpoint.newest[POSTGRES] = "newer", endpoint.newest[POSTGRES][1]
    kept.refresh()
    assert kept.get(SCOPES).token == "newer"
