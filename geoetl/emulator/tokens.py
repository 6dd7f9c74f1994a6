"""Shared access signatures: who may use which part of the namespace, and until when.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

from geoetl.emulator.addresses import entity_path
from geoetl.emulator.conditions import UNAUTHORIZED, ServiceBusError

_PREFIX: Final = "SharedAccessSignature "


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The one policy of the namespace: it may send and listen, and as a rule manage.

    Args:
        name: the `SharedAccessKeyName`.
        key: the `SharedAccessKey`.
        can_manage: whether it has the Manage claim, without which administration refuses it.
        is_jwt_accepted: whether any Entra token is taken for valid: nothing here can check one.
    """

    name: str
    key: str = field(repr=False)
    can_manage: bool = True
    is_jwt_accepted: bool = False

    def sign(self, resource: str, expires_at: int) -> str:
        """A token for a resource URI that expires at a time in seconds since the Unix epoch."""
        quoted = quote(resource, safe="")
        signature = quote(self._signature(quoted, str(expires_at)), safe="")
        return f"{_PREFIX}sr={quoted}&sig={signature}&se={expires_at}&skn={quote(self.name, safe='')}"

    def verify(self, token: str, now: float) -> "Grant":
        """What a shared access signature grants.

        Raises:
            ServiceBusError: the token is malformed, expired, of another policy, or wrongly signed.
        """
        if not token.startswith(_PREFIX):
            raise _unauthorized("the token is not a SharedAccessSignature")
        pairs = [part.partition("=") for part in token.removeprefix(_PREFIX).split("&")]
        raw = {name: value for name, _, value in pairs}
        missing = [name for name in ("sr", "sig", "se", "skn") if not raw.get(name)]
        if missing:
            raise _unauthorized(f"the token lacks {', '.join(missing)}")
        expected = self._signature(raw["sr"], raw["se"])
        # Every check runs before the answer, so that the answer's time tells nothing about the key.
        is_signed = hmac.compare_digest(expected.encode(), unquote(raw["sig"]).encode())
        if unquote(raw["skn"]) != self.name or not is_signed:
            raise _unauthorized("the token has an invalid signature")
        if not raw["se"].isdecimal() or int(raw["se"]) <= now:
            raise _unauthorized("the token is expired")
        return Grant(entity_path(unquote(raw["sr"])).lower(), float(raw["se"]))

    def verify_password(self, response: bytes) -> bool:
        """Whether a SASL PLAIN response names the policy and its key (RFC 4616)."""
        parts = response.split(b"\x00")
        expected = f"{self.name}\x00{self.key}".encode()
        return len(parts) == 3 and hmac.compare_digest(expected, b"\x00".join(parts[1:]))

    def _signature(self, resource: str, expiry: str) -> str:
        digest = hmac.new(self.key.encode(), f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode()


@dataclass(frozen=True, slots=True)
class Grant:
    """Access to a path and everything below it, until a time in seconds since the Unix epoch."""

    path: str
    expires_at: float

    def covers(self, path: str) -> bool:
        return self.path in ("", path) or path.startswith(f"{self.path}/")


class Grants:
    """What a connection has been granted so far.

    Args:
        on_added: called after each addition.
    """

    def __init__(self, on_added: Callable[[], None] = lambda: None) -> None:
        self._by_path: dict[str, Grant] = {}
        self._on_added = on_added

    @property
    def next_expiry(self) -> float:
        """When the first grant expires, in seconds since the Unix epoch; infinity when none does."""
        return min((grant.expires_at for grant in self._by_path.values()), default=float("inf"))

    def add(self, grant: Grant) -> None:
        """Adds access, or renews it."""
        self._by_path[grant.path] = grant
        self._on_added()

    def expire(self, now: float) -> None:
        """Takes back what has expired."""
        self._by_path = {path: grant for path, grant in self._by_path.items() if grant.expires_at > now}

    def covers(self, address: str) -> bool:
        """Whether an address may be used."""
        path = entity_path(address).lower()
        return any(grant.covers(path) for grant in self._by_path.values())

    def require(self, address: str) -> None:
        """Lets the use of an address pass, or not.

        Raises:
            ServiceBusError: no grant covers it.
        """
        if not self.covers(address):
            raise ServiceBusError(
                UNAUTHORIZED,
                f"Unauthorized access. 'Send' or 'Listen' claim(s) are required to use '{entity_path(address)}'.",
            )


def _unauthorized(reason: str) -> ServiceBusError:
    return ServiceBusError(UNAUTHORIZED, f"InvalidSignature: {reason}.")
