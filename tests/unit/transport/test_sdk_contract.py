"""Fails loudly when azure-servicebus no longer has the private names that `geoetl.transport.sdk` lists."""

import inspect
import time
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient
from azure.servicebus._common import constants
from azure.servicebus._pyamqp import _connection, _transport, cbs, client, receiver
from azure.servicebus._pyamqp.constants import LinkState
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusConnectionError,
)

from geoetl.transport import sdk
from geoetl.transport.clients import REQUEST_TIMEOUT_S, Clients
from geoetl.transport.delivery import Outcome
from geoetl.transport.errors import UnsupportedSdkError
from geoetl.transport.options import Options
from geoetl.transport.sdk import private
from geoetl.transport.urls import parse_connection_string

CONNECTION_STRING = "Endpoint=sb://localhost:1;SharedAccessKeyName=r;SharedAccessKey=a;UseDevelopmentEmulator=true"


@pytest.fixture
def sdk_client():
    with ServiceBusClient.from_connection_string(CONNECTION_STRING) as sdk_client:
        yield sdk_client


def test_installed_sdk_is_of_the_supported_series():
    sdk.check_version()


def test_other_version_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(private, "version", lambda _: "7.16.0")
    with pytest.raises(UnsupportedSdkError, match=r"7\.16\.0 is installed.*azure-servicebus~=7\.15\.0"):
        sdk.check_version()


def test_receiver_has_what_is_called_on_it(sdk_client):
    made = sdk_client.get_queue_receiver("q", prefetch_count=1, keep_alive=0, socket_timeout=0.05)
    for name in ("_create_handler", "_build_received_message", "_renew_locks", "_settle_message_via_mgmt_link"):
        assert callable(getattr(made, name)), name
    assert made._running is False
    assert made._config.keep_alive == 0, "no keep-alive thread reads the socket"
    parameters = inspect.signature(made._settle_message_via_mgmt_link).parameters
    assert list(parameters) == ["settlement", "lock_tokens", "dead_letter_details"]


def test_settling_by_token_is_bounded_by_the_timeout_of_the_client():
    made: Any = Clients(parse_connection_string(CONNECTION_STRING), Options()).control_receiver("q")
    assert made._config.try_timeout == REQUEST_TIMEOUT_S
    assert "self._config.try_timeout" in inspect.getsource(made._settle_message_via_mgmt_link)


def test_sender_has_what_is_set_on_it(sdk_client):
    made = sdk_client.get_queue_sender("q", keep_alive=0)
    assert made._max_message_size_on_link == 0
    assert made._max_batch_size_on_link == 0
    assert callable(made._create_handler)


def test_receive_link_is_opened_without_credit():
    source = inspect.getsource(client.ReceiveClient._client_ready)
    assert "link_credit=0" in source, "else messages arrive on links that never asked for any"


def test_received_messages_are_queued_with_their_frames():
    assert "self._received_messages.put((frame, message))" in inspect.getsource(client.ReceiveClient._message_received)


def test_client_has_connection_link_and_authenticator():
    made = client.ReceiveClient("host", "source", auth=None)
    assert (made._connection, made._link, made._cbs_authenticator) == (None, None, None)


def test_disposition_is_sent_and_confirmed_as_expected():
    parameters = inspect.signature(receiver.ReceiverLink._outgoing_disposition).parameters
    assert list(parameters) == ["self", "first", "last", "delivery_tag", "settled", "state", "batchable"]
    confirming = inspect.getsource(receiver.ReceiverLink._incoming_disposition)
    assert 'pending["outcome"] = outcome' in confirming
    assert 'pending["settled"] = True' in confirming


def test_connection_reads_one_frame_and_keeps_itself_alive():
    assert inspect.signature(_connection.Connection.listen).parameters["batch"].default == 1
    assert list(inspect.signature(_connection.Connection._get_remote_timeout).parameters) == ["self", "now"]


def test_transports_keep_what_they_read_too_much():
    for made in (_transport.SSLTransport("host"), _transport.WebSocketTransport("host")):
        assert made.sock is None
        assert made._read_buffer.getbuffer().nbytes == 0
    reading = inspect.getsource(_transport.WebSocketTransport._read)
    assert "self._read_buffer = BytesIO(data[n:])" in reading


def test_socket_is_read_into_the_buffer_first_and_written_through_write():
    reading = inspect.getsource(_transport.SSLTransport._read)
    assert "nbytes = self._read_buffer.readinto(view)" in reading
    assert "self.write(data)" in inspect.getsource(_transport._AbstractTransport.send_frame)


def test_authenticator_refreshes_when_asked():
    assert list(inspect.signature(cbs.CBSAuthenticator.handle_token).parameters) == ["self"]
    assert "self._refresh_window: Optional[int] = None" in inspect.getsource(cbs.CBSAuthenticator.__init__)
    assert cbs.check_expiration_and_refresh_status(int(time.time()) + 4, 5) == (False, True)


def test_attached_is_a_state():
    assert LinkState.ATTACHED.value == 3


def test_words_for_settling_by_token_are_those_of_the_sdk():
    assert set(sdk.DISPOSITION_STATUS) == set(Outcome)
    assert set(sdk.DISPOSITION_STATUS.values()) <= set(constants.MESSAGE_MGMT_SETTLEMENT_TERM_MAP.values())
    assert sdk.DISPOSITION_STATUS[Outcome.COMPLETE] == constants.SETTLEMENT_COMPLETE
    assert sdk.DISPOSITION_STATUS[Outcome.DEAD_LETTER] == constants.SETTLEMENT_DEADLETTER
    assert constants.MGMT_REQUEST_DEAD_LETTER_REASON == "deadletter-reason"
    assert constants.MGMT_REQUEST_DEAD_LETTER_ERROR_DESCRIPTION == "deadletter-description"


@pytest.mark.parametrize(
    ("condition", "public"),
    [
        (b"com.microsoft:message-lock-lost", MessageLockLostError),
        (b"amqp:not-found", MessagingEntityNotFoundError),
    ],
)
def test_amqp_error_is_translated(condition, public):
    from azure.servicebus._pyamqp.error import AMQPException

    assert isinstance(sdk.translate(AMQPException(condition)), public)


def test_refused_token_keeps_what_the_service_says():
    from azure.servicebus._pyamqp.error import TokenAuthFailure

    error = sdk.translate(TokenAuthFailure(401, "InvalidSignature"))
    assert isinstance(error, ServiceBusAuthenticationError)
    assert "401 InvalidSignature" in str(error)


@pytest.mark.parametrize("error", [OSError("gone"), ServiceBusConnectionError(message="gone")])
def test_public_error_stays_what_it_is(error):
    assert sdk.translate(error) is error


def test_size_on_the_wire_is_known():
    from azure.servicebus import ServiceBusMessage

    size = sdk.encoded_size(ServiceBusMessage(b"x" * 1000))
    assert 1000 < size < 1100
    assert PyamqpTransport.KIND == "pyamqp"


def test_batch_that_encodes_once_is_the_batch_of_the_sdk():
    from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch

    ours, theirs = sdk.new_batch(100_000), ServiceBusMessageBatch(100_000)
    for size in (10, 300, 40_000):
        for batch in (ours, theirs):
            batch.add_message(
                ServiceBusMessage(b"x" * size, message_id=f"m{size}", application_properties={"task": "add"})
            )
    assert (ours.size_in_bytes, len(ours)) == (theirs.size_in_bytes, 3)
    assert ours._message == theirs._message
    with pytest.raises(MessageSizeExceededError):
        ours.add_message(ServiceBusMessage(b"x" * 60_000))
    assert len(ours._message[5]) == 3
