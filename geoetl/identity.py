"""The process's Azure identity: one credential, made where it is first used, never carried across a fork."""

import functools
import os
import time
from typing import Any

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential

from geoetl.errors import TransientError

#: What a token must be for to be PostgreSQL's password, in every Azure cloud that has flexible servers.
POSTGRES_SCOPE = "https://ossrdbms-aad.database.windows.net/.default"


class IdentityUnavailable(TransientError):
    """No token could be had: the identity endpoint is away, or no identity is assigned to this process."""

    default_code = "identity-unavailable"


class ProcessCredential:
    """A token credential for every Azure SDK client of this process.

    azure-identity's credentials hold HTTP sessions, locks and a token cache, none of which survives a fork; so each
    process makes its own on first use. The chain is DefaultAzureCredential's: workload identity, the user-assigned
    managed identity of ``client_id``, then a developer's own sign-in. ``AZURE_TOKEN_CREDENTIALS`` narrows it.
    """

    def __init__(self, client_id: str = "") -> None:
        self._client_id = client_id
        self._per_process: dict[int, DefaultAzureCredential] = {}

    def get_token(
        self, *scopes: str, claims: str | None = None, tenant_id: str | None = None, **kwargs: Any
    ) -> AccessToken:
        return self._credential().get_token(*scopes, claims=claims, tenant_id=tenant_id, **kwargs)

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        return self._credential().get_token_info(*scopes, options=options)

    def _credential(self) -> DefaultAzureCredential:
        # Two threads that meet here first make two and keep one: harmless, and no lock that a fork could leave held.
        pid = os.getpid()
        if (credential := self._per_process.get(pid)) is None:
            made = DefaultAzureCredential(
                managed_identity_client_id=self._client_id or None,
                workload_identity_client_id=self._client_id or None,
            )
            credential = self._per_process.setdefault(pid, made)
        return credential

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
