"""One storage account as a process reaches it: its clients, and the signatures made with its key or identity."""

import datetime as dt
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
from azure.storage.blob import (
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ExponentialRetry,
    UserDelegationKey,
    generate_blob_sas,
)

from geoetl.errors import SystemFault
from geoetl.models.refs import BlobRef, Tier
from geoetl.storage.azure_errors import translate_azure_errors

#: Bytes per request of a large transfer. Times TRANSFER_THREADS it bounds the memory of one transfer; times 50,000
#: (the most blocks a blob may have) it bounds a blob: 390 GiB.
BLOCK_BYTES = 8 * 1024 * 1024

#: A signature is valid from this long before now: clocks of client and store differ.
CLOCK_SKEW = dt.timedelta(minutes=15)

#: https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key
MAX_DELEGATION_LIFE = dt.timedelta(days=7)

#: A delegation key serves many signatures; a new one is asked for at most this often.
DELEGATION_KEY_LIFE = dt.timedelta(days=1)

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class TierAccess:
    """How to reach the storage account of a tier: by connection string, or by address and identity."""

    connection_string: str = field(default="", repr=False)
    """With an account key; for Azurite and local use. A string that holds a SAS cannot sign and is refused."""
    account_url: str = ""
    """``https://<account>.blob.core.windows.net``; needs ``credential``."""
    credential: TokenCredential | None = None
    ca_file: Path | None = None
    """Certificate authorities to trust instead of the usual ones; for a store with a private certificate."""

    def __post_init__(self) -> None:
        if bool(self.connection_string) == bool(self.account_url):
            raise SystemFault(
                "A storage tier needs either a connection string or an account URL.",
                code="storage-misconfigured",
                hint="Set one of the two, not both.",
            )
        if self.account_url and (self.credential is None or not self.account_url.startswith("https://")):
            raise SystemFault(
                f"Storage account {self.account_url} needs an https address and an identity to reach it.",
                code="storage-misconfigured",
                hint="Tokens are sent over https only; for a store on this machine use a connection string.",
            )


class AzureAccount:
    """Clients and signatures for one tier. Usable from threads, and after a fork."""

    def __init__(self, tier: Tier, access: TierAccess, *, retries: int) -> None:
        self._tier: Tier = tier
        self._access = access
        self._retries = retries
        # Keyed by process: an HTTP session must not be shared with a forked child.
        self._services: dict[int, BlobServiceClient] = {}
        self._delegation_keys: dict[int, tuple[UserDelegationKey, dt.datetime]] = {}

    def blob(self, ref: BlobRef) -> BlobClient:
        return self._service().get_blob_client(ref.container, ref.path)

    def container(self, name: str) -> ContainerClient:
        return self._service().get_container_client(name)

    @property
    def endpoint(self) -> str:
        """The account's address without a trailing slash, a query or a secret."""
        return self._service().primary_endpoint.partition("?")[0].rstrip("/")

    def href(self, ref: BlobRef) -> str:
        """The blob's plain address, percent-encoded."""
        return f"{self.endpoint}/{ref.container}/{quote(ref.path, safe='/~')}"

    def read_signature(self, ref: BlobRef, *, life: dt.timedelta) -> str:
        """A SAS to read this one blob: signed with the account key, or with a key delegated to the identity.

        Raises:
            ValueError: A life that the store would refuse.
        """
        now = dt.datetime.now(dt.UTC)
        expiry = now + life
        service = self._service()
        signer: dict[str, Any]
        if self._access.connection_string:
            signer = {"account_key": _account_key(service, self._tier)}
        elif life > MAX_DELEGATION_LIFE:
            raise ValueError(f"a signature by an identity lives at most 7 days, not {life}")
        else:
            signer = {"user_delegation_key": self._delegation_key(expiry)}
        return generate_blob_sas(
            account_name=service.account_name or "",
            container_name=ref.container,
            blob_name=ref.path,
            permission=BlobSasPermissions(read=True),
            start=now - CLOCK_SKEW,
            expiry=expiry,
            protocol="https" if self.endpoint.startswith("https:") else "https,http",
            **signer,
        )

    def close(self) -> None:
        """Close this process's connections; a later call opens new ones."""
        if (service := self._services.pop(os.getpid(), None)) is not None:
            service.close()

    @property
    def ca_file(self) -> Path | None:
        return self._access.ca_file

    def _service(self) -> BlobServiceClient:
        # No lock: two threads that meet here first make two clients and keep one, and a fork cannot leave it held.
        pid = os.getpid()
        if (service := self._services.get(pid)) is None:
            service = self._services.setdefault(pid, self._make_service())
        return service

    def _make_service(self) -> BlobServiceClient:
        options: dict[str, Any] = {
            "retry_policy": ExponentialRetry(
                initial_backoff=1, increment_base=2, random_jitter_range=1, retry_total=self._retries
            ),
            "connection_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "max_single_put_size": BLOCK_BYTES,
            "max_block_size": BLOCK_BYTES,
            "max_single_get_size": BLOCK_BYTES,
            "max_chunk_get_size": BLOCK_BYTES,
        }
        if self._access.ca_file is not None:
            options["connection_verify"] = str(self._access.ca_file)
        if not self._access.connection_string:
            return BlobServiceClient(self._access.account_url, credential=self._access.credential, **options)
        try:
            service = BlobServiceClient.from_connection_string(self._access.connection_string, **options)
        except ValueError as error:
            # The SDK's message may quote the string.
            raise SystemFault(
                f"The connection string of the {self._tier} tier cannot be read.",
                code="storage-misconfigured",
                hint="Copy it whole from the storage account's access keys page.",
            ) from error
        _account_key(service, self._tier)
        return service

    def _delegation_key(self, needed_until: dt.datetime) -> UserDelegationKey:
        pid = os.getpid()
        key, valid_until = self._delegation_keys.get(pid, (None, needed_until))
        if key is not None and valid_until >= needed_until:
            return key
        now = dt.datetime.now(dt.UTC)
        valid_until = min(max(needed_until, now + DELEGATION_KEY_LIFE), now + MAX_DELEGATION_LIFE)
        with translate_azure_errors("get a delegation key from", f"the {self._tier} tier at {self.endpoint}"):
            key = self._service().get_user_delegation_key(now - CLOCK_SKEW, valid_until)
        self._delegation_keys[pid] = (key, valid_until)
        return key


def _account_key(service: BlobServiceClient, tier: Tier) -> str:
    if isinstance(service.credential, AzureNamedKeyCredential):  # pragma: no cover - not made from a string
        return service.credential.named_key.key
    key: object = getattr(service.credential, "account_key", None)
    if not isinstance(key, str) or not key:
        raise SystemFault(
            f"The connection string of the {tier} tier has no account key, so it cannot sign links.",
            code="storage-misconfigured",
            hint="Use one with AccountKey, or an account URL with an identity.",
        )
    return key
