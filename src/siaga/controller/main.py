"""The controller: one asyncio process, a loop a domain, the API. Killing it changes nothing for users.

Run by the keeper as `python -m siaga.controller.main STATE_DIR RUN_DIR NAME`. Until it leads it stands by:
it answers who leads, and touches nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import structlog
import uvicorn
import uvloop

from siaga.controller import leadership_file, state
from siaga.controller.leadership import Leadership
from siaga.controller.leadership_api import Front, create_standby_api, leader_router
from siaga.controller.leadership_file import FileLeadership
from siaga.controller.leadership_postgres import PostgresLeadership
from siaga.controller.leadership_process import this_process
from siaga.controller.peers import Door, PeerAwareProtocol
from siaga.controller.wiring import wire
from siaga.errors import SiagaError
from siaga.platform import control_database, secrets
from siaga.platform.account import Home
from siaga.platform.layout import Layout, load

_log = structlog.get_logger()


class _Server(uvicorn.Server):
    """Leaves the signals to us: loops and API end together."""

    def install_signal_handlers(self) -> None:
        return

    def capture_signals(self):  # type: ignore[no-untyped-def] # noqa: ANN202
        return contextlib.nullcontext()


def main(directory: str, run: str, name: str = "controller") -> int:
    """Watch the platform until a signal ends us, or leadership is lost."""
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(),
        ]
    )
    place = Home(state=Path(directory), run=Path(run))
    try:
        layout = load(place)
        if layout is None:
            print(f"there is no platform in {directory}", file=sys.stderr)
            return 2
        own = layout.directory("controller")
        # Before anything is touched: a state that is too new for this program is left as it is.
        state.read(own)
        # One process a name: a second one would take the socket of the first.
        named = leadership_file.hold(own, f"{name}.lock", shared=False)
        leadership = _leadership(layout, own, name)
        uvloop.run(_run(layout, name, leadership))
    except SiagaError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    os.close(named)
    return 0


def _leadership(layout: Layout, directory: Path, name: str) -> Leadership:
    if layout.site.controller.state == "sqlite":
        return FileLeadership(directory, name)
    # PostgreSQL decides who leads; the lock only keeps a restore out while we run.
    leadership_file.hold(directory, leadership_file.LOCK, shared=True)
    return PostgresLeadership(
        control_database.conninfo(layout), this_process(name), epoch_file=directory / leadership_file.EPOCH
    )


async def _run(layout: Layout, name: str, leadership: Leadership) -> None:
    done = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, done.set)
    door = Door(secrets.read(layout.secret("controller-token")))
    front = Front(create_standby_api(door, leadership))
    config = uvicorn.Config(front, http=PeerAwareProtocol, lifespan="off", log_config=None, access_log=False, ws="none")
    server = _Server(config)
    path = layout.place.controller_socket(name)
    api = asyncio.create_task(server.serve([_unix_socket(path), _tcp_socket(layout.address(name))]), name="api")
    _log.info("stands by", name=name, address=layout.address(name))
    leading = asyncio.create_task(_lead(layout, leadership, door, front), name="leading")
    ended = asyncio.create_task(done.wait(), name="signal")
    await asyncio.wait((ended, leading), return_when=asyncio.FIRST_COMPLETED)
    leading.cancel()
    server.should_exit = True
    await asyncio.wait((api, leading), timeout=5)
    path.unlink(missing_ok=True)
    if leading.done():
        # Otherwise something is still acting: the lease then ends with this process, and not before.
        await leadership.give_up()
        if not leading.cancelled():
            leading.result()


async def _lead(layout: Layout, leadership: Leadership, door: Door, front: Front) -> None:
    """Stand by until we lead, then run the loops until cancelled."""
    epoch = await leadership.lead()
    controller = await wire(layout, leadership)
    state.stamp(layout.directory("controller"))
    controller.api.include_router(leader_router(door, leadership))
    front.lead_with(controller.api)
    _log.info("leads", epoch=epoch, loops=[each.name for each in controller.loops])
    try:
        async with asyncio.TaskGroup() as group:
            for each in controller.loops:
                group.create_task(each.run(), name=each.name)
    finally:
        await controller.close()


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
    sys.exit(main(*sys.argv[1:]))
