"""What the Azure store does when the network, the account or the process does not do as it should."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.identity import CredentialUnavailableError

from geoetl.errors import GeoEtlError, SystemFault
from geoetl.models.refs import BlobRef
from geoetl.storage.azure import AzureBlobStore
from geoetl.storage.azure_account import TierAccess
from geoetl.storage.base import BlobExists, StorageUnavailable

REF = BlobRef("silver://silver/faults/a.bin")


def every_call(store: AzureBlobStore, tmp_path: Path) -> list[Callable[[], object]]:
    return [
        lambda: store.properties(REF),
        lambda: store.read_range(REF, offset=0, length=1),
        lambda: store.download(REF, tmp_path / "x"),
        lambda: store.upload(REF, b"x", content_type="text/plain"),
        lambda: store.delete(REF),
        lambda: list(store.list("silver", "silver")),
        lambda: store.ensure_container("silver", "silver"),
    ]


def assert_all_raise(calls: list[Callable[[], object]], error: type[GeoEtlError], *, code: str, secret: str) -> None:
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        assert caught.value.code == code
        assert secret not in str(caught.value)


def key_of(connection_string: str) -> str:
    match = re.search(r"AccountKey=([^;]+)", connection_string)
    assert match
    return match[1]


@pytest.fixture
def make_store() -> Generator[Callable[..., AzureBlobStore]]:
    made: list[AzureBlobStore] = []

    def make(access: TierAccess, *, retries: int = 0) -> AzureBlobStore:
        made.append(AzureBlobStore({"silver": access}, retries=retries))
        return made[-1]

    yield make
    for store in made:
        store.close()


def test_store_that_is_away_is_unavailable(azurite: str, tmp_path: Path, make_store: Callable[..., AzureBlobStore]):
    nobody_listens = re.sub(r"(BlobEndpoint=http://127.0.0.1):\d+", r"\1:9", azurite)
    store = make_store(TierAccess(connection_string=nobody_listens))
    calls = every_call(store, tmp_path)
    assert_all_raise(calls, StorageUnavailable, code="storage-unavailable", secret=key_of(azurite))
    assert StorageUnavailable.retryable
    assert list(tmp_path.iterdir()) == []


def test_wrong_key_is_denied_and_not_a_missing_blob(
    azurite: str, tmp_path: Path, make_store: Callable[..., AzureBlobStore]
):
    wrong = "d3Jvbmcta2V5LW9mLXRoZS1hY2NvdW50"
    store = make_store(TierAccess(connection_string=azurite.replace(key_of(azurite), wrong)))
    assert_all_raise(every_call(store, tmp_path), SystemFault, code="storage-denied", secret=wrong)


def test_token_for_another_service_is_denied(
    wrong_audience: TierAccess, tmp_path: Path, make_store: Callable[..., AzureBlobStore]
):
    store = make_store(wrong_audience)
    calls = [*every_call(store, tmp_path), lambda: store.gdal_access(REF, life_s=60)]
    assert_all_raise(calls, SystemFault, code="storage-denied", secret="unsigned")


class NoIdentity:
    def get_token(self, *scopes: str, **kwargs: object) -> AccessToken:
        raise CredentialUnavailableError(message="ManagedIdentityCredential authentication unavailable")


def test_identity_that_gives_no_token_is_unavailable(tmp_path: Path, make_store: Callable[..., AzureBlobStore]):
    store = make_store(TierAccess(account_url="https://127.0.0.1:9/account", credential=NoIdentity()))
    calls = [*every_call(store, tmp_path), lambda: store.signed_href(REF, life_s=60)]
    assert_all_raise(calls, StorageUnavailable, code="identity-unavailable", secret="\0")


class LossyProxy(ThreadingHTTPServer):
    """Forwards to a store, and cuts the connection instead of giving the first answer to a PUT."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.target = target
        self.lost = 0


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LossyProxy

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = HTTPConnection(self.server.target)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if self.command == "PUT" and not self.server.lost:
            self.server.lost += 1
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "content-length", "server", "date"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_GET = do_HEAD = _forward  # noqa: N815  # names that http.server asks for

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002  # name of http.server
        pass


@pytest.fixture
def lossy(azurite: str) -> Generator[tuple[LossyProxy, str]]:
    match = re.search(r"BlobEndpoint=([^;]+)", azurite)
    assert match
    proxy = LossyProxy(urlsplit(match[1]).netloc)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    yield proxy, azurite.replace(proxy.target, f"127.0.0.1:{proxy.server_address[1]}")
    proxy.shutdown()
    thread.join()
    proxy.server_close()


def test_upload_whose_answer_was_lost_knows_its_own_blob(
    lossy: tuple[LossyProxy, str], azurite: str, make_store: Callable[..., AzureBlobStore]
):
    proxy, connection_string = lossy
    ref = BlobRef("silver://silver/faults/lost-answer.bin")
    store = make_store(TierAccess(connection_string=connection_string), retries=1)
    assert store.upload(ref, b"once", content_type="text/plain").size_bytes == 4
    assert proxy.lost == 1
    with pytest.raises(BlobExists):
        make_store(TierAccess(connection_string=azurite)).upload(ref, b"once", content_type="text/plain")


FORKING = """
import os, sys
from geoetl.models.refs import BlobRef
from geoetl.storage.azure import AzureBlobStore
from geoetl.storage.azure_account import TierAccess

store = AzureBlobStore({"silver": TierAccess(connection_string=os.environ["CONNECTION_STRING"])}, retries=0)
ref = BlobRef("silver://silver/faults/forked.bin")
store.upload(ref, b"parent", content_type="text/plain", overwrite=True)
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        same = all(store.read_range(ref, offset=0, length=6) == b"parent" for _ in range(50))
        os._exit(0 if same else 1)
    children.append(pid)
assert all(store.read_range(ref, offset=0, length=6) == b"parent" for _ in range(50))
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


def test_store_made_before_a_fork_works_in_parent_and_children(azurite: str):
    done = subprocess.run(
        [sys.executable, "-c", FORKING],
        env={"CONNECTION_STRING": azurite, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
