"""Signing in to Flower with Entra ID, whose place a small server takes: both ends speak HTTP."""

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from http.cookies import SimpleCookie
from unittest import mock
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from flower.options import options
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from geoetl.worker.entra_login import EntraLoginHandler

TENANT = "6f1c9a52-4d0a-4d26-9c0d-000000000001"
CODE = "a-code"


class TokenEndpoint(RequestHandler):
    """Exchanges the one code it knows for a token of Ada's."""

    def post(self) -> None:
        if (self.get_argument("code"), self.get_argument("client_secret")) != (CODE, "secret"):
            self.set_status(400)
            return
        claims = {"aud": "app", "tid": TENANT, "preferred_username": "Ada@example.org"}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        self.write({"id_token": f"header.{payload}.signature"})


class Site:
    """A page behind the sign-in, and a visitor who keeps cookies."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._cookies = SimpleCookie()

    async def get(self, path: str) -> HTTPResponse:
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in self._cookies.items())
        answer = await AsyncHTTPClient().fetch(
            self._url + path, headers={"Cookie": cookies}, follow_redirects=False, raise_error=False
        )
        for line in answer.headers.get_list("Set-Cookie"):
            self._cookies.load(line)
        return answer

    @property
    def cookies(self) -> set[str]:
        return {name for name, morsel in self._cookies.items() if morsel.value}


def listen(application: Application) -> tuple[HTTPServer, int]:
    server = HTTPServer(application)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]


type Visit = Callable[[Site], Coroutine[None, None, None]]


@pytest.fixture
def visit(monkeypatch) -> Callable[..., None]:
    """Run a visit to a Flower that lets `allowed` in."""

    async def run(visit: Visit) -> None:
        entra, entra_port = listen(Application([(f"/{TENANT}/oauth2/v2.0/token", TokenEndpoint)]))
        monkeypatch.setenv("FLOWER_ENTRA_AUTHORITY", f"http://127.0.0.1:{entra_port}")
        monkeypatch.setenv("FLOWER_ENTRA_TENANT", TENANT)
        oauth = {"key": "app", "secret": "secret", "redirect_uri": "http://flower.example.org/login"}
        application = Application([("/login", EntraLoginHandler)], cookie_secret="not for anybody", oauth=oauth)
        application.options = options
        flower, port = listen(application)
        try:
            await visit(Site(port))
        finally:
            for server in (flower, entra):
                server.stop()
                await server.close_all_connections()

    def start(visit: Visit, *, allowed: str = "ada@example.org") -> None:
        with mock.patch.object(options.mockable(), "auth", allowed):
            asyncio.run(run(visit))

    return start


async def sent_to_entra(site: Site) -> dict[str, str]:
    """What the visitor is sent to Entra ID with."""
    answer = await site.get("/login")
    assert answer.code == 302
    address = urlsplit(answer.headers["Location"])
    assert address.path == f"/{TENANT}/oauth2/v2.0/authorize"
    return {name: values[0] for name, values in parse_qs(address.query).items()}


def test_whom_the_directory_knows_and_flower_allows_is_signed_in(visit):
    async def signs_in(site: Site) -> None:
        query = await sent_to_entra(site)
        assert query["redirect_uri"] == "http://flower.example.org/login"
        answer = await site.get("/login?" + urlencode({"code": CODE, "state": query["state"]}))
        assert (answer.code, answer.headers["Location"]) == (302, "/")
        assert "user" in site.cookies

    visit(signs_in)


@pytest.mark.parametrize(
    ("allowed", "code", "status"),
    [("bob@example.org", CODE, 403), ("ada@example.org", "another", 403)],
    ids=["a user that Flower does not allow", "a code that Entra ID does not know"],
)
def test_nobody_else_is_signed_in(visit, allowed, code, status):
    async def is_refused(site: Site) -> None:
        query = await sent_to_entra(site)
        answer = await site.get("/login?" + urlencode({"code": code, "state": query["state"]}))
        assert answer.code == status
        assert "user" not in site.cookies

    visit(is_refused, allowed=allowed)


def test_a_code_that_another_visitor_asked_for_is_refused(visit):
    async def is_refused(site: Site) -> None:
        await sent_to_entra(site)
        answer = await site.get("/login?" + urlencode({"code": CODE, "state": "guessed"}))
        assert answer.code >= 400
        assert "user" not in site.cookies

    visit(is_refused)
