"""The sessions of a platform: which servers are watched, and what proves them separate (ZDT-1.1b)."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Awaitable, Callable, Mapping

import structlog

from siaga.controller.keeper_watch import KeeperWatch
from siaga.evidence.model import Evidence, Record
from siaga.platform import secrets, valkey
from siaga.platform.layout import Layout
from siaga.sessions.separation import Cluster, Placement, fingerprint
from siaga.sessions.service import SessionsService
from siaga.sessions.valkey import Server, SessionWatcher

_log = structlog.get_logger()

_FINGERPRINT_KEY = randomness.token_bytes(32)


def sessions_service(
    layout: Layout, keeper: KeeperWatch, evidence: Evidence
) -> tuple[SessionsService, Callable[[], Awaitable[None]]]:
    """The service, and what records its events: to be called after each pass."""
    noted: list[Mapping[str, object]] = []
    watcher = SessionWatcher(
        [Server(server.name, server.address or "") for server in layout.site.sessions.servers],
        user=valkey.WATCH,
        password=secrets.read(layout.secret("sessions-watch")),
    )
    service = SessionsService(
        watcher,
        layout.site.limits.sessions,
        record=noted.append,
        placements=lambda: _placements(layout, keeper.pids),
        one_machine=layout.site.embedded,
    )

    async def flush() -> None:
        while noted:
            event = noted[0]
            await evidence.append(Record(str(event["kind"]), "controller", str(event["clause"]), str(event["reason"])))
            # Only what is written is forgotten: a full disk delays an event, it does not lose it.
            del noted[0]
            _log.info(event["reason"], kind=event["kind"], clause=event["clause"])

    return service, flush


def _placements(layout: Layout, pids: Mapping[str, int]) -> list[Placement]:
    """Where every server of the two clusters lives, for the proof of their separation (ZDT-1.1b)."""
    site = layout.site
    clusters = (
        (Cluster.DATABASE, (*site.transactions.servers, *site.history.servers), "wallet-app"),
        (Cluster.SESSIONS, site.sessions.servers, "sessions-wallet"),
    )
    found = []
    for cluster, servers, secret in clusters:
        credential = fingerprint(secrets.read(layout.secret(secret)).encode(), _FINGERPRINT_KEY)
        for server in servers:
            directory = layout.directory(server.name)
            found.append(
                Placement(
                    cluster=cluster,
                    server=server.name,
                    host=server.host,
                    process=str(pids[server.name]) if server.name in pids else None,
                    directory=str(directory),
                    volume=f"{server.host}:{directory.stat().st_dev}" if directory.exists() else None,
                    credential=credential,
                )
            )
    return found
