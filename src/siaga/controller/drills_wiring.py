"""What drills work with on a platform."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from siaga.controller.keeper_watch import python_environment
from siaga.drills.stage import Stage
from siaga.evidence import index
from siaga.evidence.model import Evidence, Record
from siaga.hosts.keeper_client import KeeperClient
from siaga.platform.layout import Layout
from siaga.sessions.service import SessionsService
from siaga.traffic.service import TrafficService


def stage(layout: Layout, traffic: TrafficService, sessions: SessionsService, evidence: Evidence) -> Stage:
    """The platform as a stage: its drills are runbooks of the engine."""

    async def restore(node: str) -> None:
        await traffic.restore(node, "drill", dry_run=False)

    async def record(drill: str, clauses: Sequence[str], holds: bool, figures: Mapping[str, Any]) -> None:
        known = {"drill": drill, "clauses": list(clauses), "holds": holds, "where": "embedded", **figures}
        reason = f"drill {drill} {'held' if holds else 'did not hold'}"
        await evidence.append(Record(index.PROOF, "controller", clauses[0], reason, known))

    return Stage(
        layout=layout,
        keeper=KeeperClient(layout.place.keeper_socket),
        python=(sys.executable,),
        python_env=python_environment(),
        show_traffic=traffic.show,
        show_sessions=lambda: sessions.show(datetime.now(UTC)),
        restore=restore,
        record=record,
    )
