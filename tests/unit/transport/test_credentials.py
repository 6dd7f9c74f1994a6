import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from geoetl.transport.clients import _identity
from geoetl.transport.credentials import PrefetchingCredential
from geoetl.transport.urls import parse_address

LIFE_S = 3600


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Gives a new token at each call; can be broken."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.calls = 0
        self.is_broken = False

    def get_token(self, *scopes, **kwargs):
        if self.is_broken:
            raise ClientAuthenticationError("down")
        self.calls += 1
        return AccessToken(f"token-{self.calls}", int(self.clock.now) + LIFE_S)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def source(clock):
    return Source(clock)


@pytest.fixture
def credential(source, clock):
    return PrefetchingCredential(source, clock=clock)


def test_token_is_fetched_once_and_kept(credential, source):
    assert {credential.get_token("a").token for _ in range(3)} == {"token-1"}
    assert source.calls == 1


def test_scopes_have_their_own_tokens(credential):
    assert credential.get_token("a").token != credential.get_token("b").token


def test_fresh_token_is_not_fetched_again(credential, source, clock):
    credential.get_token("a")
    clock.now += LIFE_S * 0.79
    credential.prefetch()
    assert source.calls == 1


def test_token_is_replaced_before_the_sdk_asks_for_it(credential, clock):
    credential.get_token("a")
    clock.now += LIFE_S * 0.81
    credential.prefetch()
    assert credential.get_token("a").token == "token-2"


def test_old_token_serves_on_while_there_is_no_new_one(credential, source, clock, caplog):
    credential.get_token("a")
    clock.now += LIFE_S * 0.9
    source.is_broken = True
    for _ in range(3):
        credential.prefetch()
    assert credential.get_token("a").token == "token-1"
    source.is_broken = False
    with caplog.at_level("INFO"):
        credential.prefetch()
    assert credential.get_token("a").token == "token-2"
    assert [record.getMessage() for record in caplog.records] == [
        "no new token, the present one ends in 360 s: down",
        "new tokens again",
    ]


def test_newer_of_two_tokens_that_end_at_once_is_kept(credential, source, clock, monkeypatch):
    credential.get_token("a")
    clock.now += LIFE_S * 0.9
    monkeypatch.setattr(source, "get_token", lambda *_, **__: AccessToken("newer", int(clock.now + LIFE_S * 0.1)))
    credential.prefetch()
    assert credential.get_token("a").token == "newer"


def test_ended_token_is_not_handed_out(credential, clock):
    credential.get_token("a")
    clock.now += LIFE_S - 5
    assert credential.get_token("a").token == "token-2"


def test_error_of_the_source_reaches_who_waits_for_a_first_token(credential, source):
    source.is_broken = True
    with pytest.raises(ClientAuthenticationError):
        credential.get_token("a")


def test_nothing_is_fetched_ahead_that_nobody_asked_for(credential, source):
    credential.prefetch()
    assert source.calls == 0


def test_default_credential_of_a_url_takes_the_client_id_of_the_environment(monkeypatch):
    seen: list[dict[str, object]] = []
    monkeypatch.setattr("geoetl.transport.clients.DefaultAzureCredential", lambda **given: seen.append(given))
    for url in (
        "servicebus://DefaultAzureCredential@ns",
        "servicebus://DefaultAzureCredential@ns?client_id=of-the-url",
    ):
        _identity(parse_address(url))
    assert seen == [{}, {"managed_identity_client_id": "of-the-url"}]
