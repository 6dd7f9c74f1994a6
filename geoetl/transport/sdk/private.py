"""What is imported of the private modules of azure-servicebus, and the release that is known to have it."""

from importlib.metadata import version
from typing import Final

from geoetl.transport.errors import UnsupportedSdkError

#: The release series whose private names this file knows.
SUPPORTED_SERIES: Final = "7.15."


def check_version() -> None:
    """Raise UnsupportedSdkError for an SDK whose private names may differ."""
    installed = version("azure-servicebus")
    if not installed.startswith(SUPPORTED_SERIES):
        raise UnsupportedSdkError(
            f"azure-servicebus {installed} is installed; this transport uses private names of {SUPPORTED_SERIES}x. "
            f"Install 'azure-servicebus~={SUPPORTED_SERIES}0'."
        )


try:
    from azure.servicebus._common.utils import create_authentication
    from azure.servicebus._pyamqp._encode import encode_payload
    from azure.servicebus._pyamqp.constants import LinkState
    from azure.servicebus._pyamqp.error import AMQPError, TokenAuthFailure
    from azure.servicebus._pyamqp.outcomes import Accepted, Modified, Rejected, Released
    from azure.servicebus._pyamqp.receiver import check_disposition_outcome, outcome_name
    from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
except ImportError as error:
    check_version()  # says what to install when this is the reason
    raise UnsupportedSdkError(f"azure-servicebus lacks a private name that this transport needs: {error}") from error

__all__ = [
    "AMQPError",
    "Accepted",
    "LinkState",
    "Modified",
    "PyamqpTransport",
    "Rejected",
    "Released",
    "TokenAuthFailure",
    "check_disposition_outcome",
    "check_version",
    "create_authentication",
    "encode_payload",
    "outcome_name",
]
