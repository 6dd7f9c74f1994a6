"""Who signs in to Flower with Entra ID."""

import base64
import json

import pytest
from tornado.web import HTTPError

from geoetl.worker import entra_login
from geoetl.worker.entra_login import user_of

TENANT = "6f1c9a52-4d0a-4d26-9c0d-000000000001"


def token(**claims: str) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"header.{payload}.signature"


def test_the_user_is_the_sign_in_name():
    given = token(aud="app", tid=TENANT, preferred_username="Ada@Example.org")
    assert user_of(given, client_id="app", tenant=TENANT) == "ada@example.org"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another", "tid": TENANT, "preferred_username": "ada@example.org"},
        {"aud": "app", "tid": "another", "preferred_username": "ada@example.org"},
        {"aud": "app", "tid": TENANT},
    ],
    ids=["of another application", "of another directory", "of nobody"],
)
def test_a_token_is_refused(claims):
    with pytest.raises(HTTPError) as refused:
        user_of(token(**claims), client_id="app", tenant=TENANT)
    assert refused.value.status_code == 403


@pytest.mark.parametrize("tenant", ["common", "organizations", ""])
def test_every_directory_of_the_world_is_not_a_tenant(monkeypatch, tenant):
    monkeypatch.setenv("FLOWER_ENTRA_TENANT", tenant)
    with pytest.raises(HTTPError, match="FLOWER_ENTRA_TENANT"):
        entra_login._endpoint("token")


def test_the_endpoints_are_the_directory_s(monkeypatch):
    monkeypatch.setenv("FLOWER_ENTRA_TENANT", TENANT)
    assert entra_login._endpoint("token") == f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
