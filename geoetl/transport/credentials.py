"""Tokens that are there before they are needed.

The reactor refreshes the token of every link, and asks the credential for it on its own thread. A credential that calls
Entra ID takes a fraction of a second at best and half a minute at worst, and no message moves meanwhile. So tokens are
kept here, fetched ahead of time on the control thread, and handed to the reactor from memory.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError

logger = logging.getLogger(__name__)

#: A token is fetched anew when less than this part of its life is left. The SDK asks for a new one at a tenth.
REFRESH_AT_PART_LEFT = 0.2

#: A token this close to its end is not handed out any more.
MIN_LEFT_S = 10


class TokenSource(Protocol):
    """A credential of azure-identity, or anything that gives tokens as they do."""

    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken: ...


class PrefetchingCredential:
    """Wraps a credential; thread-safe.

    Args:
        source: where tokens come from.
        clock: seconds since the epoch.
    """

    def __init__(self, source: TokenSource, *, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        #: By scopes: a token and when it was fetched.
        self._tokens: dict[tuple[str, ...], tuple[AccessToken, float]] = {}
        #: The scopes whose last prefetch failed.
        self._failing: set[tuple[str, ...]] = set()

    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        """A token with some life left; from memory whenever there is one."""
        held = self._tokens.get(scopes)
        if held is not None and held[0].expires_on - self._clock() > MIN_LEFT_S:
            return held[0]
        return self._fetch(scopes, **kwargs)

    def prefetch(self) -> None:
        """Replace the tokens that will soon be asked for again. Blocks; never fails, but tells when it begins to."""
        now = self._clock()
        for scopes, (token, fetched_at) in list(self._tokens.items()):
            if token.expires_on - now > (token.expires_on - fetched_at) * REFRESH_AT_PART_LEFT:
                continue
            try:
                self._fetch(scopes)
            except AzureError as error:
                if scopes not in self._failing:
                    self._failing.add(scopes)
                    logger.warning("no new token, the present one ends in %.0f s: %s", token.expires_on - now, error)

    def _fetch(self, scopes: tuple[str, ...], **kwargs: Any) -> AccessToken:
        with self._lock:  # one request for all links that find the token gone at the same time
            token = self._source.get_token(*scopes, **kwargs)
            held = self._tokens.get(scopes)
            # A source with a cache may return the same token again; it is still as old as it was.
            if held is None or held[0].token != token.token:
                self._tokens[scopes] = token, self._clock()
                if scopes in self._failing:
                    self._failing.discard(scopes)
                    logger.info("new tokens again")
            return token
