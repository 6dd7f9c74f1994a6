"""An identity endpoint as App Service and Container Apps have one, with tokens that live ten seconds."""

import base64
import json
import threading
import time
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from geoetl.identity import ProcessCredential, credential
from tests.integration.storage.conftest import tls_azurite  # noqa: F401 - a fixture of the storage room

LIFE_S = 10


class IdentityEndpoint:
    """Issues unsigned tokens. https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference."""

    def __init__(self) -> None:
        self.is_down = False
        #: Whether answers break off in the middle.
        self.is_cut_off = False
        self.audience: str | None = None
        self.requests: list[dict[str, str]] = []
        #: By resource: the token that was issued last, or is about to be, and when it ends.
        self.newest: dict[str, tuple[str, int]] = {}
        #: Told of a resource and its new token, before who asked for it has it.
        self.on_issue: Callable[[str, str], None] = lambda resource, token: None
        # Several threads ask. One token at a time: what is issued last is told last.
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = endpoint.answer(parse_qs(urlparse(self.path).query))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                data = json.dumps(body).encode()
                self.wfile.write(data[: len(data) // 2] if endpoint.is_cut_off else data)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/msi/token"

    def answer(self, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        if self.is_down:
            return 503, {"error": "down"}
        resource = query["resource"][0]
        with self._lock:
            self.requests.append({"resource": resource, "client_id": query.get("client_id", [""])[0]})
            now = int(time.time())
            # As Azure's endpoints do: who asks right after another gets the same token.
            if self.newest.get(resource, ("", 0))[1] - now < LIFE_S * 3 / 4:
                self.newest[resource] = self._token(resource, now), now + LIFE_S
                self.on_issue(resource, self.newest[resource][0])
            token, expires_on = self.newest[resource]
        return 200, {
            "access_token": token, "expires_on": str(expires_on), "resource": resource, "token_type": "Bearer"
        }  # fmt: skip

    def _token(self, resource: str, now: int) -> str:
        claims = {
            "aud": self.audience or resource, "iat": now, "nbf": now - 60, "exp": now + LIFE_S, "ver": "1.0",
            "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/", "jti": len(self.requests),
            "oid": "11111111-1111-1111-1111-111111111111", "tid": "22222222-2222-2222-2222-222222222222",
        }  # fmt: skip
        return ".".join([_encoded({"alg": "none", "typ": "JWT"}), _encoded(claims), "unsigned"])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Generator[IdentityEndpoint]:
    endpoint = IdentityEndpoint()
    monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint.url)
    monkeypatch.setenv("IDENTITY_HEADER", "secret")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("AZURE_CLIENT_ID", "33333333-user-assigned")
    credential.cache_clear()
    yield endpoint
    credential.cache_clear()
    endpoint.close()


@pytest.fixture
def identity(endpoint: IdentityEndpoint) -> ProcessCredential:
    return credential()
