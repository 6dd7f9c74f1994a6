"""The one border where the Azure SDK's errors become ours."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)

from geoetl.errors import GeoEtlError, SystemFault
from geoetl.storage.base import BlobChanged, BlobExists, BlobNotFound, StorageUnavailable

#: The store is there but cannot answer now: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
_PASSING_CODES = {"ContainerBeingDeleted", "ContainerDisabled", "OperationTimedOut", "ServerBusy", "InternalError"}
_PASSING_STATUSES = {408, 429, 500, 502, 503, 504}

_DENIED_HINTS = {
    "AuthenticationFailed": (
        "The account key or token is not the account's, or this machine's clock is off by more than 15 minutes."
    ),
    "AuthorizationFailure": (
        "The account refuses this client: open its network rules to this network, use an identity where it does not "
        "allow keys, and check the key."
    ),
    "AuthorizationPermissionMismatch": (
        "Grant this identity 'Storage Blob Data Reader' on the account to read, 'Storage Blob Data Contributor' to "
        "write, and 'Storage Blob Delegator' to sign links. A new grant can take ten minutes to work."
    ),
    "KeyBasedAuthenticationNotPermitted": "The account accepts identities only: set account_url, no connection string.",
}
_DENIED_HINT = "Check the identity's roles on the storage account ('Storage Blob Data Contributor' on Silver)."


@contextmanager
def translate_azure_errors(action: str, target: str) -> Generator[None]:
    """Raise our errors for the SDK's.

    Args:
        action: What is tried, as a verb: ``read``, ``write`` …
        target: On what: a blob's URI, or a container's.

    Raises:
        BlobNotFound: No such blob, or no such container (code ``container-missing``).
        BlobChanged: The blob is not the version that was asked for.
        BlobExists: Something is where a new blob should go.
        StorageUnavailable: No answer, throttled, or no token to be had now.
        SystemFault: Access is refused, or the store did not understand us.
    """
    try:
        yield
    except HttpResponseError as error:
        raise translated(error, action, target) from error
    except (ServiceRequestError, ServiceResponseError, IncompleteReadError) as error:
        raise StorageUnavailable(
            f"Could not {action} {target}: the store did not answer ({type(error).__name__}).",
            hint="Check that the storage account's address is right and that this machine reaches it.",
        ) from error
    except AzureError as error:
        raise SystemFault(f"Could not {action} {target}: {type(error).__name__}.", code="storage-fault") from error


def translated(error: HttpResponseError, action: str, target: str) -> GeoEtlError:
    """Our error for an answer of the store; never its text, which can quote signatures."""
    status, code = error.status_code, error_code(error)
    tried = f"Could not {action} {target}"
    if status is None:
        return _without_answer(error, tried)
    if (of_blob := _state_of_blob(status, code, tried, target)) is not None:
        return of_blob
    found = f"the store answered {status} {code}".rstrip()
    if status in {401, 403}:
        return SystemFault(f"{tried}: {found}.", code="storage-denied", hint=_DENIED_HINTS.get(code, _DENIED_HINT))
    if status in _PASSING_STATUSES or code in _PASSING_CODES:
        return StorageUnavailable(f"{tried}: {found}.")
    return SystemFault(f"{tried}: {found}.", code="storage-fault")


def _state_of_blob(status: int, code: str, tried: str, target: str) -> GeoEtlError | None:
    """The answers that say something about the blob itself: missing, there already, changed."""
    if status == 404 and code == "ContainerNotFound":
        container = "/".join(target.split("/")[:3])
        return BlobNotFound(
            f"{tried}: container {container} does not exist.",
            code="container-missing",
            hint="Check the container's name, or create it.",
        )
    if status == 404:
        return BlobNotFound(f"{tried}: there is no such blob.", hint="Check the path: names are case-sensitive.")
    if code in {"BlobAlreadyExists", "UnauthorizedBlobOverwrite"}:
        return BlobExists(f"{tried}: a blob is there already.", hint="Products are immutable: write to a new path.")
    if status == 412:
        return BlobChanged(
            f"{tried}: the blob is not the version that was checked before.",
            hint="It was replaced in the meantime. Submit again to use the new version.",
        )
    return None


def error_code(error: HttpResponseError) -> str:
    """The store's name of the problem, or an empty string.

    A HEAD's answer has no body; the name is in a header then, and the SDK keeps it only for some classes.
    """
    named: object = getattr(error, "error_code", None)
    if named:
        return str(getattr(named, "value", named))
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return headers.get("x-ms-error-code", "")


def _without_answer(error: HttpResponseError, tried: str) -> GeoEtlError:
    if isinstance(error, ClientAuthenticationError):
        return StorageUnavailable(
            f"{tried}: no token for the identity could be had.",
            code="identity-unavailable",
            hint="Check that a managed identity is assigned and AZURE_CLIENT_ID names it, or sign in with `az login`.",
        )
    return StorageUnavailable(f"{tried}: the store's answer broke off ({type(error).__name__}).")
