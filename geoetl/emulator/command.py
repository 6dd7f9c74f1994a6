"""`python -m geoetl.emulator`: the emulator as a process."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from geoetl.emulator.broker import DEFAULT_IDLE_TIMEOUT_S, DEFAULT_MAX_MESSAGE_BYTES, Limits
from geoetl.emulator.server import DEFAULT_KEY, DEFAULT_KEY_NAME, EmulatorServer
from geoetl.emulator.sqlite_journal import JournalError, SqliteJournal
from geoetl.emulator.tokens import AccessPolicy


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the emulator until SIGTERM or SIGINT and returns the exit status.

    Args:
        argv: the arguments after the program's name; those of the process when None.
    """
    options = _parser().parse_args(argv)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(_serve(options))
    except (OSError, JournalError) as error:
        print(f"The emulator could not start on {options.host}:{options.port}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m geoetl.emulator", description="A Service Bus namespace on this machine."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5672, help="port for AMQP and HTTP; 0: any (default: %(default)s)")
    parser.add_argument("--admin-port", type=int, help="one more port for both; Microsoft's emulator has 5300")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep everything there (default: in memory)")
    parser.add_argument("--key", default=DEFAULT_KEY, help="the SharedAccessKey of clients (default: %(default)s)")
    parser.add_argument("--no-manage", action="store_true", help="let clients send and listen, not administer")
    parser.add_argument("--accept-jwt", action="store_true", help="take any Entra token for valid")
    parser.add_argument(
        "--max-message-bytes",
        type=int,
        default=DEFAULT_MAX_MESSAGE_BYTES,
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--idle-timeout", type=float, default=DEFAULT_IDLE_TIMEOUT_S, metavar="SECONDS", help="(default: %(default)s)"
    )
    parser.add_argument("--ready-file", type=Path, help="file to write the connection string to when ready")
    parser.add_argument("--log-level", default="warning", choices=["debug", "info", "warning", "error"])
    return parser


async def _serve(options: argparse.Namespace) -> None:
    server = EmulatorServer(
        host=options.host,
        port=options.port,
        admin_port=options.admin_port,
        policy=AccessPolicy(
            DEFAULT_KEY_NAME, options.key, can_manage=not options.no_manage, is_jwt_accepted=options.accept_jwt
        ),
        journal=None if options.data is None else SqliteJournal(options.data),
        limits=Limits(max_message_bytes=options.max_message_bytes, idle_timeout_s=options.idle_timeout),
    )
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await server.start()
    try:
        _announce(server.connection_string, options.ready_file)
        await stopped.wait()
    finally:
        await server.stop()
        if options.ready_file is not None:
            with contextlib.suppress(FileNotFoundError):
                options.ready_file.unlink()


def _announce(connection_string: str, ready_file: Path | None) -> None:
    print(connection_string, flush=True)  # noqa: T201 - the line a caller waits for
    if ready_file is not None:
        # Renamed into place, so that whoever finds the file finds all of it.
        partial = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
        partial.write_text(f"{connection_string}\n")
        partial.replace(ready_file)
