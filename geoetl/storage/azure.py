"""Blobs in Azure Storage, or in Azurite."""

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, ContentSettings
from azure.storage.blob import BlobProperties as SdkBlobProperties

from geoetl.errors import SystemFault
from geoetl.models.refs import BlobRef, Tier
from geoetl.storage.azure_account import AzureAccount, TierAccess
from geoetl.storage.azure_errors import error_code, translate_azure_errors, translated
from geoetl.storage.base import BlobChanged, BlobExists, BlobProperties, GdalAccess, GdalAccessToMany, StagedBlock

#: Blocks in flight per transfer: about ``BLOCK_BYTES`` each in memory.
TRANSFER_THREADS = 4

#: Tries of a request after its first, over about ten seconds. Longer outages are the engine's to wait for.
DEFAULT_RETRIES = 3

#: Metadata that names one upload, so that a retry after a lost answer knows its own blob.
_UPLOAD_ID = "geoetl_upload"

#: How a folder of an account with a hierarchical namespace looks in a listing.
_FOLDER_MARK = "hdi_isfolder"


class AzureBlobStore:
    """A ``BlobStore`` on one storage account per tier (both may be the same).

    Cheap to make: nothing is contacted before the first call. May be made before a fork and used after it, and by
    several threads at once.
    """

    def __init__(self, tiers: Mapping[Tier, TierAccess], *, retries: int = DEFAULT_RETRIES) -> None:
        self._accounts = {tier: AzureAccount(tier, access, retries=retries) for tier, access in tiers.items()}

    def close(self) -> None:
        """Close this process's connections. A later call opens new ones."""
        for account in self._accounts.values():
            account.close()

    def properties(self, ref: BlobRef) -> BlobProperties:
        with translate_azure_errors("read the properties of", ref):
            return _properties(ref, self._account(ref.tier).blob(ref).get_blob_properties())

    def read_range(self, ref: BlobRef, *, offset: int, length: int, etag: str | None = None) -> bytes:
        if length <= 0:
            return b""
        with translate_azure_errors(f"read {length} bytes from byte {offset} of", ref):
            try:
                stream = self._account(ref.tier).blob(ref).download_blob(offset, length, **_only(etag))
                return stream.readall()
            except HttpResponseError as error:
                if error.status_code == 416:  # the range begins at or after the end
                    return b""
                raise

    def download(self, ref: BlobRef, path: Path, *, etag: str | None = None) -> BlobProperties:
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            with translate_azure_errors("download", ref), part.open("wb") as file:
                stream = (
                    self._account(ref.tier).blob(ref).download_blob(max_concurrency=TRANSFER_THREADS, **_only(etag))
                )
                stream.readinto(file)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return _properties(ref, stream.properties)

    def upload(
        self,
        ref: BlobRef,
        source: Path | bytes,
        *,
        content_type: str,
        overwrite: bool = False,
        metadata: dict[str, str] | None = None,
    ) -> BlobProperties:
        upload_id = uuid.uuid4().hex
        blob = self._account(ref.tier).blob(ref)
        length = len(source) if isinstance(source, bytes) else source.stat().st_size
        with translate_azure_errors("upload", ref), contextlib.ExitStack() as stack:
            data = source if isinstance(source, bytes) else stack.enter_context(source.open("rb"))
            try:
                blob.upload_blob(
                    data,
                    length=length,
                    overwrite=overwrite,
                    metadata={**(metadata or {}), _UPLOAD_ID: upload_id},
                    content_settings=ContentSettings(content_type=content_type),
                    max_concurrency=TRANSFER_THREADS,
                    validate_content=True,  # the store checks an MD5 of each block
                )
            except HttpResponseError as error:
                if error_code(error) not in {"BlobAlreadyExists", "ConditionNotMet"}:
                    raise
                if blob.get_blob_properties().metadata.get(_UPLOAD_ID) != upload_id:
                    raise _exists(error, ref) from error
                # Ours: it was written, the answer was lost, and the SDK's own retry then met it.
            return _properties(ref, blob.get_blob_properties())

    def stage_block(self, ref: BlobRef, block_id: str, data: bytes) -> None:
        with translate_azure_errors(f"stage block {block_id} of", ref):
            # validate_content: the store checks an MD5 of the block.
            self._account(ref.tier).blob(ref).stage_block(block_id, data, length=len(data), validate_content=True)

    def staged_blocks(self, ref: BlobRef) -> list[StagedBlock]:
        with translate_azure_errors("list the staged blocks of", ref):
            try:
                _, staged = self._account(ref.tier).blob(ref).get_block_list("uncommitted")
            except ResourceNotFoundError as error:
                if error_code(error) == "ContainerNotFound":
                    raise
                return []
        return [StagedBlock(block.id, block.size) for block in staged]

    def commit_blocks(
        self, ref: BlobRef, block_ids: Sequence[str], *, content_type: str, metadata: dict[str, str] | None = None
    ) -> BlobProperties:
        upload_id = uuid.uuid4().hex
        blob = self._account(ref.tier).blob(ref)
        with translate_azure_errors(f"commit {len(block_ids):,} blocks of", ref):
            try:
                blob.commit_block_list(
                    [BlobBlock(block_id) for block_id in block_ids],
                    content_settings=ContentSettings(content_type=content_type),
                    metadata={**(metadata or {}), _UPLOAD_ID: upload_id},
                    match_condition=MatchConditions.IfMissing,
                )
            except HttpResponseError as error:
                if error_code(error) == "InvalidBlockList":
                    raise BlobChanged(
                        f"Could not commit {len(block_ids):,} blocks of {ref}: some of them are not staged.",
                        code="blocks-missing",
                        hint="Blocks expire a week after the last one was staged. Stage those that are missing again.",
                    ) from error
                if error_code(error) not in {"BlobAlreadyExists", "ConditionNotMet"}:
                    raise
                if blob.get_blob_properties().metadata.get(_UPLOAD_ID) != upload_id:
                    raise _exists(error, ref) from error
                # Ours: see upload.
            return _properties(ref, blob.get_blob_properties())

    def delete(self, ref: BlobRef) -> bool:
        with translate_azure_errors("delete", ref):
            try:
                self._account(ref.tier).blob(ref).delete_blob(delete_snapshots="include")
            except ResourceNotFoundError:
                return False
            return True

    def list(self, tier: Tier, container: str, prefix: str = "") -> Iterator[BlobProperties]:
        """Blobs under a prefix, by path; without folders and names that no ``BlobRef`` can hold."""
        with translate_azure_errors("list", f"{tier}://{container}/{prefix}"):
            for found in self._account(tier).container(container).list_blobs(prefix or None, include=["metadata"]):
                if (found.metadata or {}).get(_FOLDER_MARK) == "true":
                    continue
                try:
                    ref = BlobRef.of(tier, container, found.name)
                except ValueError:
                    continue
                yield _properties(ref, found)

    def href(self, ref: BlobRef) -> str:
        return self._account(ref.tier).href(ref)

    def signed_href(self, ref: BlobRef, *, life_s: int) -> str:
        account = self._account(ref.tier)
        return f"{account.href(ref)}?{account.read_signature(ref, life=dt.timedelta(seconds=life_s))}"

    def gdal_access(self, ref: BlobRef, *, life_s: int) -> GdalAccess:
        """How GDAL may read this blob, and nothing else, for the next ``life_s`` seconds.

        The signature goes into the options, not into the path: GDAL quotes paths in its error messages.
        """
        account = self._account(ref.tier)
        signature = account.read_signature(ref, life=dt.timedelta(seconds=life_s))
        path = f"/vsiaz/{ref.container}/{ref.path}"
        options = {
            "AZURE_STORAGE_CONNECTION_STRING": f"BlobEndpoint={account.endpoint};SharedAccessSignature={signature}",
            # The signature opens one blob: a listing of its folder would be refused, and would cost a request.
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
            # Forget what was cached when the file is closed: a source may be replaced under the same path.
            "CPL_VSIL_CURL_NON_CACHED": path,
        }
        if account.ca_file is not None:
            options["GDAL_CURL_CA_BUNDLE"] = str(account.ca_file)
        return GdalAccess(path=path, options=options)

    def gdal_access_to(self, refs: Sequence[BlobRef], *, life_s: int) -> GdalAccessToMany:
        """How GDAL may read these blobs, and nothing else, for the next ``life_s`` seconds.

        GDAL has one set of options, and a signature opens one blob: so each is in its blob's address.
        """
        options = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
        tiers: set[Tier] = {ref.tier for ref in refs}
        for tier in tiers:
            if (ca_file := self._account(tier).ca_file) is not None:
                options["GDAL_CURL_CA_BUNDLE"] = str(ca_file)
        return GdalAccessToMany(tuple(f"/vsicurl/{self.signed_href(ref, life_s=life_s)}" for ref in refs), options)

    def ensure_container(self, tier: Tier, container: str) -> None:
        with (
            translate_azure_errors("create the container", f"{tier}://{container}"),
            contextlib.suppress(ResourceExistsError),
        ):
            self._account(tier).container(container).create_container()

    def _account(self, tier: Tier) -> AzureAccount:
        try:
            return self._accounts[tier]
        except KeyError:
            raise SystemFault(
                f"The {tier} tier has no storage account.",
                code="storage-misconfigured",
                hint=f"Set GEOETL_STORAGE__{tier.upper()}__ACCOUNT_URL or …__CONNECTION_STRING.",
            ) from None


def _only(etag: str | None) -> dict[str, Any]:
    """Conditions for the version of that ETag alone."""
    return {} if etag is None else {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}


def _exists(error: HttpResponseError, ref: BlobRef) -> Exception:
    found = translated(error, "upload", ref)
    return found if isinstance(found, BlobExists) else BlobExists(found.message)


def _properties(ref: BlobRef, found: SdkBlobProperties) -> BlobProperties:
    metadata = {name: value for name, value in (found.metadata or {}).items() if name != _UPLOAD_ID}
    return BlobProperties(
        ref=ref,
        size_bytes=found.size,
        etag=found.etag.strip('"'),
        content_type=found.content_settings.content_type or "",
        last_modified=found.last_modified,
        metadata=metadata,
    )
