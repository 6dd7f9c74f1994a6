"""The process's Azure identity: one credential, its tokens kept fresh in the background, none carried across a fork."""

import functools
import logging
import os
import threading
import time
import weakref
from typing import Any

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.identity import DefaultAzureCredential

from geoetl.errors import TransientError

log = logging.getLogger(__name__)

#: What a token must be for to be PostgreSQL's password, in every Azure cloud that has flexible servers.
POSTGRES_SCOPE = "https://ossrdbms-aad.database.windows.net/.default"

#: A token is fetched anew when less than this part of its life is left.
REFRESH_AT_PART_LEFT = 0.3
#: A token this close to its end is not handed out: it must outlive the request it is for, in seconds.
MIN_LEFT_S = 2.0
#: Between looks at the tokens, and so between attempts while the identity endpoint is down, in seconds.
_LOOK_EVERY_S = 1.0


class IdentityUnavailable(TransientError):
    """No token could be had: the identity endpoint is away, or no identity is assigned to this process."""

    default_code = "identity-unavailable"


class _KeptTokens:
    """The tokens of one process. Whoever asks gets one from memory; a thread replaces them before they end.

    An identity endpoint that is slow, or down for less than what is left of a token, is noticed by nobody.
    """

    def __init__(self, client_id: str) -> None:
        # The chain: workload identity, the managed identity of client_id, then a developer's own sign-in. An explicit
        # None would hide AZURE_CLIENT_ID from it.
        names = ("managed_identity_client_id", "workload_identity_client_id") if client_id else ()
        self._source = DefaultAzureCredential(**dict.fromkeys(names, client_id))
        self._lock = threading.Lock()
        #: By scopes: a token and when it was fetched.
        self._held: dict[tuple[str, ...], tuple[AccessTokenInfo, float]] = {}
        #: The scopes whose last refresh failed.
        self._failing: set[tuple[str, ...]] = set()
        self._thread: threading.Thread | None = None

    def get(self, scopes: tuple[str, ...]) -> AccessTokenInfo:
        """A token that is valid for a while; waits for the endpoint only where none is kept."""
        held = self._held.get(scopes)
        if held is not None and held[0].expires_on - time.time() > MIN_LEFT_S:
            return held[0]
        token = self._fetch(scopes)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_keep_fresh, args=(weakref.ref(self),), name="geoetl-identity", daemon=True
                )
                self._thread.start()
        return token

    def ask(self, scopes: tuple[str, ...], options: TokenRequestOptions | None) -> AccessTokenInfo:
        """A token on special terms (a claims challenge, another tenant): never kept."""
        return self._source.get_token_info(*scopes, options=options)

    def refresh(self) -> None:
        """Replace the tokens that will soon end; never fails, but tells when that begins and ends."""
        now = time.time()
        for scopes, (token, fetched_at) in list(self._held.items()):
            if token.expires_on - now > (token.expires_on - fetched_at) * REFRESH_AT_PART_LEFT:
                continue
            try:
                self._fetch(scopes)
            except AzureError as exc:
                if scopes not in self._failing:
                    self._failing.add(scopes)
                    left_s, why = token.expires_on - now, " ".join(str(exc).split())
                    log.warning("no new token for %s, the present one ends in %.0f s: %s", scopes[0], left_s, why)

    def _fetch(self, scopes: tuple[str, ...]) -> AccessTokenInfo:
        try:
            token = self._source.get_token_info(*scopes)
        except ValueError as exc:
            # MSAL lets the JSON parser's error through where the endpoint's answer breaks off.
            raise ClientAuthenticationError("The identity endpoint gave no readable answer.") from exc
        held = self._held.get(scopes)
        # azure-identity has a cache of its own: the same token again is as old as it was.
        if held is None or held[0].token != token.token:
            self._held[scopes] = token, time.time()
            if scopes in self._failing:
                self._failing.discard(scopes)
                log.info("new tokens for %s again", scopes[0])
        return token


def _keep_fresh(tokens: weakref.ref[_KeptTokens]) -> None:
    """Body of the background thread; it ends with the tokens it keeps."""
    while (kept := tokens()) is not None:
        kept.refresh()
        del kept
        time.sleep(_LOOK_EVERY_S)  # a thread of its own that does nothing else


class ProcessCredential:
    """A token credential for every Azure SDK client of this process, and for PostgreSQL.

    azure-identity's credentials hold HTTP sessions, locks and a cache, none of which survives a fork; so each process
    makes its own on first use. ``AZURE_CLIENT_ID`` names a user-assigned identity where ``client_id`` is empty;
    ``AZURE_TOKEN_CREDENTIALS`` narrows the chain.
    """

    def __init__(self, client_id: str = "") -> None:
        self._client_id = client_id
        self._per_process: dict[int, _KeptTokens] = {}

    def get_token(
        self, *scopes: str, claims: str | None = None, tenant_id: str | None = None, **kwargs: Any
    ) -> AccessToken:
        options = TokenRequestOptions()
        if claims:
            options["claims"] = claims
        if tenant_id:
            options["tenant_id"] = tenant_id
        token = self.get_token_info(*scopes, options=options)
        return AccessToken(token.token, token.expires_on)

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        if options and (options.get("claims") or options.get("tenant_id")):
            return self._tokens().ask(scopes, options)
        return self._tokens().get(scopes)

    def _tokens(self) -> _KeptTokens:
        # Two threads that meet here first make two and keep one: harmless, and no lock that a fork could leave held.
        pid = os.getpid()
        if (tokens := self._per_process.get(pid)) is None:
            tokens = self._per_process.setdefault(pid, _KeptTokens(self._client_id))
        return tokens

    def __repr__(self) -> str:
        return f"ProcessCredential(client_id={self._client_id!r})"


def postgres_password() -> str:
    """A token that PostgreSQL takes as a password now. Ask for it at each connect: it lives about an hour.

    Raises:
        IdentityUnavailable: There is none to be had.
    """
    return _token(credential(), POSTGRES_SCOPE).token


def token_life_s(source: ProcessCredential, scope: str) -> float:
    """How long the token for ``scope`` that is handed out now is valid, in seconds.

    Raises:
        IdentityUnavailable: There is none to be had.
    """
    return _token(source, scope).expires_on - time.time()


def _token(source: ProcessCredential, scope: str) -> AccessToken:
    try:
        return source.get_token(scope)
    except AzureError as exc:
        raise IdentityUnavailable(
            f"No token for {scope} could be had from the identity ({type(exc).__name__}).",
            hint="Check that a managed identity is assigned and AZURE_CLIENT_ID names it, or sign in with `az login`.",
        ) from exc


@functools.cache
def credential(client_id: str = "") -> ProcessCredential:
    """The process's credential; the same one for the same ``client_id`` (empty: AZURE_CLIENT_ID, else the default)."""
    return ProcessCredential(client_id)
