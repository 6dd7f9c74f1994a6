"""`$management` asked rightly and wrongly, frame by frame."""

import pytest

from geoetl.emulator.amqp_types import UInt
from tests.integration.emulator.peer import Management


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("receive-by-sequence-number", {"sequence-numbers": [1], "receiver-settle-mode": "second"}),
        ("receive-by-sequence-number", {"sequence-numbers": [1]}),
        ("receive-by-sequence-number", {"receiver-settle-mode": UInt(1)}),
        ("peek-message", {"from-sequence-number": "1", "message-count": 1}),
        ("renew-lock", {"lock-tokens": ["x"]}),
        ("update-disposition", {"disposition-status": "gone", "lock-tokens": []}),
        ("update-disposition", {"disposition-status": ["completed"], "lock-tokens": []}),
        ("schedule-message", {"messages": [{"message": b"\xff"}]}),
        ("schedule-message", {"messages": [5]}),
        ("cancel-scheduled-message", {"sequence-numbers": 1}),
    ],
)
def test_wrong_argument_is_answered_as_such(connect, fill, operation, body):
    queue, peer = fill(1), connect()
    peer.open()
    management = Management(peer, queue)
    assert management.ask(operation, body)[0] == 400
    assert management.ask("peek-message", {"from-sequence-number": 0, "message-count": 1})[0] == 200
