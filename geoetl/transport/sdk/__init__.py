"""Every private name of azure-servicebus that the transport relies on: nothing else here, and none anywhere else.

The public API settles one message at a time and waits for each, up to 0.2 s behind an idle reader. Below it, links can
be read when their socket is readable, credit can be set exactly, and dispositions can be pipelined. The version is
pinned and checked at start, and a contract test fails when one of these names changes.

What is used of `azure.servicebus` 7.15 (receiver and sender are the public objects, `handler` is `._handler`):

* `receiver._create_handler(auth)`, `handler.open()`, `handler.client_ready()`, `receiver._running`: the body of the
  SDK's own `_open` without its `time.sleep(0.05)` after every frame (3 ms instead of 0.46 s).
* `handler._connection`: `.listen(wait=False)` reads one frame; `._error`; `._transport.sock`
  (of a WebSocket: the object around it); `._transport._read_buffer`: bytes read that belong to later frames;
  `._transport.write(bytes)`: shadowed for a moment to send several frames in one system call;
  `._get_remote_timeout(now)` sends the empty frame that keeps an idle connection alive.
* `handler._link`: `.flow(link_credit=n)` (absolute), `.current_link_credit`, `.get_state()` (raises the link's error),
  `._outgoing_disposition(...)`, `._pending_dispositions` (filled when the peer confirms).
* `handler._received_messages`: queue of `(frame, message)`; `receiver._build_received_message` makes the public one.
* `handler._cbs_authenticator.handle_token()`: refreshes the token; the SDK only calls it inside its own receive loop;
  `._refresh_window`: how many seconds before the token's end it does so (None before the first token).
* `message._delivery_id`, `message._delivery_tag`.
* `receiver._renew_locks(*tokens)` (several locks in one request) and `receiver._settle_message_via_mgmt_link(...)`
  (settle by lock token; the public methods first refuse by the local clock).
* `sender._max_message_size_on_link`, `sender._max_batch_size_on_link`: set by the SDK's own `_open`.
* `ServiceBusMessageBatch(..., amqp_transport=...)`: asks that for the size of a message, then has it added;
  `batch._message[5]`: the encoded messages.
"""

from geoetl.transport.sdk.links import DISPOSITION_STATUS, ControlLink, SendingLink, encoded_size, new_batch
from geoetl.transport.sdk.opening import SOCKET_TIMEOUT_S, is_lock_lost, translate
from geoetl.transport.sdk.private import check_version
from geoetl.transport.sdk.receiving_link import ReceivingLink

__all__ = [
    "DISPOSITION_STATUS", "SOCKET_TIMEOUT_S", "ControlLink", "ReceivingLink", "SendingLink", "check_version",
    "encoded_size", "is_lock_lost", "new_batch", "translate",
]  # fmt: skip
