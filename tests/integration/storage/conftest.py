"""The implementations that the contract suite runs on."""

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Generator

import pytest
from azure.core.credentials import AccessToken

from geoetl.storage.azure import AzureBlobStore
from geoetl.storage.azure_account import TierAccess
from geoetl.storage.base import BlobStore


class UnsignedCredential:
    """Tokens that Azurite's ``--oauth basic`` accepts: it looks at audience, issuer and times, not at the signature."""

    def __init__(self, audience: str = "https://storage.azure.com") -> None:
        self._audience = audience

    def get_token(self, *scopes: str, **kwargs: object) -> AccessToken:
        now = int(time.time())
        claims = {
            "aud": self._audience,
            "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
            "iat": now, "nbf": now - 60, "exp": now + 3600,
            "oid": "11111111-1111-1111-1111-111111111111", "tid": "22222222-2222-2222-2222-222222222222", "ver": "1.0",
        }  # fmt: skip
        parts = [_encoded({"alg": "none", "typ": "JWT"}), _encoded(claims), "unsigned"]
        return AccessToken(".".join(parts), now + 3600)


def _encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


@pytest.fixture(params=["by key", "by identity"])
def access(request: pytest.FixtureRequest) -> TierAccess:
    if request.param == "by key":
        return TierAccess(connection_string=request.getfixturevalue("azurite").connection_string)
    account_url, ca_file = request.getfixturevalue("tls_azurite")
    return TierAccess(account_url=account_url, credential=UnsignedCredential(), ca_file=ca_file)


@pytest.fixture
def store(access: TierAccess) -> Generator[BlobStore]:
    store = AzureBlobStore({"bronze": access, "silver": access}, retries=0)
    yield store
    store.close()


@pytest.fixture
def container(store: BlobStore) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    store.ensure_container("silver", name)
    return name


@pytest.fixture
def fetch(access: TierAccess) -> Callable[[str], bytes]:
    """Opens an address as a reader without an account would."""

    def get(url: str) -> bytes:
        context = ssl.create_default_context(cafile=str(access.ca_file)) if access.ca_file else None
        try:
            with urllib.request.urlopen(url, context=context, timeout=10) as response:
                content: bytes = response.read()
        except urllib.error.HTTPError as error:
            error.close()
            raise
        return content

    return get


@pytest.fixture
def other_audience() -> UnsignedCredential:
    return UnsignedCredential(audience="https://servicebus.azure.net")
