"""Each answer of the store means one of our errors."""

from types import SimpleNamespace

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)

from geoetl.errors import GeoEtlError, SystemFault
from geoetl.storage.azure_errors import translate_azure_errors
from geoetl.storage.base import BlobChanged, BlobExists, BlobNotFound, StorageUnavailable

TARGET = "silver://products/a.tif"
SECRET = "the MAC signature 'c2VjcmV0' is not the same as any computed signature"


def answer(status: int, code: str) -> HttpResponseError:
    headers = {"x-ms-error-code": code} if code else {}
    response = SimpleNamespace(status_code=status, reason="", headers=headers, text=lambda: "", content_type="")
    return HttpResponseError(SECRET, response=response)  # pyright: ignore[reportArgumentType]


def translated(error: AzureError) -> GeoEtlError:
    with pytest.raises(GeoEtlError) as caught, translate_azure_errors("read", TARGET):
        raise error
    assert caught.value.__cause__ is error
    assert caught.value.message.startswith("Could not read silver://products/a.tif: ")
    assert "c2VjcmV0" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("status", "name", "kind", "code"),
    [
        (404, "BlobNotFound", BlobNotFound, "blob-missing"),
        (404, "", BlobNotFound, "blob-missing"),
        (404, "ContainerNotFound", BlobNotFound, "container-missing"),
        (409, "BlobAlreadyExists", BlobExists, "blob-exists"),
        (412, "ConditionNotMet", BlobChanged, "source-changed"),
        (401, "InvalidAuthenticationInfo", SystemFault, "storage-denied"),
        (403, "AuthenticationFailed", SystemFault, "storage-denied"),
        (403, "", SystemFault, "storage-denied"),
        (409, "ContainerBeingDeleted", StorageUnavailable, "storage-unavailable"),
        (429, "", StorageUnavailable, "storage-unavailable"),
        (500, "InternalError", StorageUnavailable, "storage-unavailable"),
        (503, "ServerBusy", StorageUnavailable, "storage-unavailable"),
        (400, "InvalidHeaderValue", SystemFault, "storage-fault"),
        (409, "LeaseIdMissing", SystemFault, "storage-fault"),
    ],
)
def test_answer_means_one_error(status: int, name: str, kind: type[GeoEtlError], code: str):
    error = translated(answer(status, name))
    assert (type(error), error.code) == (kind, code)


@pytest.mark.parametrize("kind", [ServiceRequestError, ServiceResponseError, IncompleteReadError])
def test_no_answer_is_unavailable(kind: type[AzureError]):
    assert isinstance(translated(kind(SECRET)), StorageUnavailable)


def test_no_token_is_unavailable_and_says_what_to_check():
    error = translated(ClientAuthenticationError(SECRET))
    assert (type(error), error.code) == (StorageUnavailable, "identity-unavailable")
    assert "AZURE_CLIENT_ID" in error.hint


@pytest.mark.parametrize(
    "role", ["Storage Blob Data Reader", "Storage Blob Data Contributor", "Storage Blob Delegator"]
)
def test_missing_role_is_named(role: str):
    assert role in translated(answer(403, "AuthorizationPermissionMismatch")).hint
