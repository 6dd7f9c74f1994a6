"""The implementations that the contract suite runs on."""

import base64
import datetime as dt
import ipaddress
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.core.credentials import AccessToken
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from geoetl.local.component import ignore_progress
from geoetl.local.ports import HOST, Ports
from geoetl.local.processes import start, wait_until_ready
from geoetl.local.tools import azurite_command
from geoetl.storage.azure import AzureBlobStore
from geoetl.storage.azure_account import TierAccess
from geoetl.storage.base import BlobStore
from tests.stack import require


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


@dataclass(frozen=True)
class TlsAzurite:
    account_url: str
    ca_file: Path


@pytest.fixture(scope="session")
def tls_azurite(tmp_path_factory: pytest.TempPathFactory) -> Generator[TlsAzurite]:
    """An Azurite that takes tokens, which it does over https only."""
    folder = tmp_path_factory.mktemp("tls-azurite")
    certificate, key = _self_signed(folder)
    ports = Ports(folder / "ports.json")
    command = require(lambda: azurite_command(ignore_progress))
    port = ports.claim("azurite")
    options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence", "--oauth", "basic"]
    process = start(
        [*command, *options, "--cert", str(certificate), "--key", str(key), "--blobPort", str(port)],
        log=folder / "azurite.log", record=folder / "azurite.pid",
    )  # fmt: skip

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) == 0

    try:
        wait_until_ready(process, answers, what="Azurite", log=folder / "azurite.log", timeout_s=60)
        yield TlsAzurite(account_url=f"https://{HOST}:{port}/devstoreaccount1", ca_file=certificate)
    finally:
        process.stop()


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Azurite of the tests")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture(params=["by key", "by identity"])
def access(request: pytest.FixtureRequest) -> TierAccess:
    if request.param == "by key":
        return TierAccess(connection_string=request.getfixturevalue("azurite"))
    tls: TlsAzurite = request.getfixturevalue("tls_azurite")
    return TierAccess(account_url=tls.account_url, credential=UnsignedCredential(), ca_file=tls.ca_file)


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
            with urllib.request.urlopen(url, context=context, timeout=60) as response:
                content: bytes = response.read()
        except urllib.error.HTTPError as error:
            error.close()
            raise
        return content

    return get


@pytest.fixture
def wrong_audience(tls_azurite: TlsAzurite) -> TierAccess:
    credential = UnsignedCredential(audience="https://servicebus.azure.net")
    return TierAccess(account_url=tls_azurite.account_url, credential=credential, ca_file=tls_azurite.ca_file)
