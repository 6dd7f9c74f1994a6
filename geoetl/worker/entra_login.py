"""Signing in to Flower with Microsoft Entra ID: a provider class as Flower has them for Google, GitHub and Okta.

    FLOWER_AUTH_PROVIDER=geoetl.worker.entra_login.EntraLoginHandler
    FLOWER_ENTRA_TENANT=<id of the directory>
    FLOWER_AUTH='.*@example[.]org'   # in Flower's own small language: one name, names joined by |, or one *
    FLOWER_OAUTH2_KEY, FLOWER_OAUTH2_SECRET, FLOWER_OAUTH2_REDIRECT_URI   # of the app registration

The authorization code flow: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
"""

import base64
import json
import os
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import tornado.auth
import tornado.web
from flower.utils.authentication import authenticate
from flower.views import BaseHandler
from flower.views.auth import OAuth2StateMixin, get_next_url
from tornado.options import options

DEFAULT_AUTHORITY = "https://login.microsoftonline.com"


class EntraLoginHandler(BaseHandler, OAuth2StateMixin, tornado.auth.OAuth2Mixin):
    """Sends a visitor to Entra ID, and takes the user's name from the token that comes back."""

    async def get(self) -> None:
        """Both ends of the visit to Entra ID."""
        ours = self.settings["oauth"]
        if code := str(self.get_argument("code", "")):
            self.verify_oauth_state()
            await self._sign_in(ours, code)
            return
        query = {
            "client_id": ours["key"],
            "redirect_uri": ours["redirect_uri"],
            "response_type": "code",
            "scope": "openid profile",
            "state": self.set_oauth_state(),
        }
        self.redirect(f"{_endpoint('authorize')}?{urlencode(query)}")

    async def _sign_in(self, ours: dict[str, str], code: str) -> None:
        body = urlencode({
            "client_id": ours["key"],
            "client_secret": ours["secret"],
            "code": code,
            "grant_type": "authorization_code",
            "redirect_uri": ours["redirect_uri"],
            "scope": "openid profile",
        })  # fmt: skip
        answer = await self.get_auth_http_client().fetch(
            _endpoint("token"), method="POST", body=body, raise_error=False
        )
        if answer.code != 200:
            # The body says why (AADSTS...), and may hold what only the log of Entra ID should.
            raise tornado.web.HTTPError(403, f"Entra ID did not accept the sign-in: status {answer.code}.")
        name = user_of(json.loads(answer.body)["id_token"], client_id=ours["key"], tenant=_tenant())
        if not authenticate(options.auth, name):
            raise tornado.web.HTTPError(403, f"{name} may not use this Flower; FLOWER_AUTH says who may.")
        self.set_secure_cookie("user", name)
        self.redirect(get_next_url(self))


def user_of(id_token: str, *, client_id: str, tenant: str) -> str:
    """The sign-in name in an ID token.

    Its signature need not be checked: it came over TLS from the token endpoint itself (OpenID Connect Core, 3.1.3.7).

    Raises:
        tornado.web.HTTPError: it was made for another application or by another directory, or names nobody.
    """
    payload = id_token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if claims.get("aud") != client_id or claims.get("tid") != tenant:
        raise tornado.web.HTTPError(403, "The token of Entra ID is for another application or directory.")
    name = str(claims.get("preferred_username") or "").lower()
    if not name:
        raise tornado.web.HTTPError(403, "The token of Entra ID names no user (no claim `preferred_username`).")
    return name


def _endpoint(name: str) -> str:
    authority = os.environ.get("FLOWER_ENTRA_AUTHORITY", DEFAULT_AUTHORITY).rstrip("/")
    return f"{authority}/{_tenant()}/oauth2/v2.0/{name}"


def _tenant() -> str:
    given = os.environ.get("FLOWER_ENTRA_TENANT", "")
    try:
        # `common` and `organizations` would let in users whom other directories may call as they like.
        return str(UUID(given))
    except ValueError:
        raise tornado.web.HTTPError(
            500, f"FLOWER_ENTRA_TENANT is {given!r}; it must be the id (a GUID) of your directory."
        ) from None
