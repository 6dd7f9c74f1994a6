"""Closing a connection for good."""

import socket

from geoetl.transport.sockets import close_socket


def test_peer_sees_the_end_though_a_forked_child_still_has_a_copy():
    ours, peer = socket.socketpair()
    with peer, ours.dup():
        close_socket(ours)
        peer.settimeout(5)
        assert peer.recv(1) == b""


def test_closing_what_is_closed_already_is_fine():
    ours, peer = socket.socketpair()
    with peer:
        close_socket(ours)
        close_socket(ours)
    close_socket(None)
