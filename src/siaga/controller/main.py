"""The controller: one asyncio process, a loop a domain, the API. Killing it changes nothing for users.

Run by the keeper as `python -m siaga.controller.main STATE_DIR RUN_DIR`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sys
from pathlib import Path

import structlog
import uvicorn
import uvloop

from siaga.controller.peers import PeerAwareProtocol
from siaga.controller.wiring import Controller, wire
from siaga.platform.account import Home
from siaga.platform.layout import load

_log = structlog.get_logger()


class _Server(uvicorn.Server):
    """Leaves the signals to us: loops and API end together."""

    def install_signal_handlers(self) -> None:
        return

    def capture_signals(self):  # type: ignore[no-untyped-def] # noqa: ANN202
        import contextlib

        return contextlib.nullcontext()


def main(state: str, run: str) -> int:
    """Watch the platform until a signal ends us."""
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(),
        ]
    )
    place = Home(state=Path(state), run=Path(run))
    layout = load(place)
    if layout is None:
        print(f"there is no platform in {state}", file=sys.stderr)
        return 2
    (place.state / "controller").mkdir(mode=0o700, exist_ok=True)
    lock = os.open(place.state / "controller/lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Two controllers on one state directory would fight over the weights.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another controller holds this state directory", file=sys.stderr)
        return 4
    uvloop.run(_run(wire(layout), place, layout.address("controller")))
    return 0


async def _run(controller: Controller, place: Home, address: str) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, done.set)
    config = uvicorn.Config(controller.api, http=PeerAwareProtocol, log_config=None, access_log=False, ws="none")
    server = _Server(config)
    sockets = [_unix_socket(place.controller_socket), _tcp_socket(address)]
    tasks = [asyncio.create_task(each.run(), name=each.name) for each in controller.loops]
    tasks.append(asyncio.create_task(server.serve(sockets), name="api"))
    _log.info("watching", loops=[each.name for each in controller.loops], address=address)
    await done.wait()
    server.should_exit = True
    for task in tasks[:-1]:
        task.cancel()
    await asyncio.wait(tasks, timeout=5)
    await controller.close()
    place.controller_socket.unlink(missing_ok=True)


def _unix_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(64)
    return listener


def _tcp_socket(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    listener.listen(64)
    return listener


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
