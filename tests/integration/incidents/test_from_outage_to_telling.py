"""A platform loses its database: the minutes see it, it is Level 3, and somebody knows within seconds (ZDT-1)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from incident_receivers import Receiver, receiver
from platform_under_test import Platform, eventually

SITE = """
name = "told"
embedded = true
[[notifications]]
name = "chief"
kind = "apprise"
secret = "chief-url"
level_min = 3
"""


@asynccontextmanager
async def told_platform(directory: Path) -> AsyncIterator[tuple[Platform, Receiver]]:
    """A platform whose chief is a real receiver on loopback."""
    directory.joinpath("site.toml").write_text(SITE)
    platform = Platform(directory / "home")
    async with receiver() as chief:
        try:
            up = platform.siaga("up", "--detach", "--site", str(directory / "site.toml"))
            assert up.code == 0, up.stderr
            secret = platform.home / "secrets/chief-url"
            secret.write_text(chief.url.replace("http://", "json://"))
            secret.chmod(0o600)
            owner = secret.parent.stat()
            os.chown(secret, owner.st_uid, owner.st_gid)
            yield platform, chief
        finally:
            platform.siaga("down", "--purge")


@pytest.mark.clause("ZDT-1")
async def test_an_outage_is_counted_declared_and_told_within_seconds(directories: Callable[[], Path]) -> None:
    async with told_platform(directories()) as (platform, chief):
        eventually(lambda: platform.siaga("uptime", "--json").document["good_ms"] > 3_000, "the minutes are measured")
        pid = platform.pids()["transactions-1"]
        assert pid is not None
        # A server that hangs: its processes are there, and none of them answers.
        family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        signal_all(family, signal.SIGSTOP)
        try:
            heard = await chief.until(lambda messages: any("Level 3" in json.dumps(m) for m in messages))
            # The first region whose journeys fail is enough to tell of it; the other's may run into their deadline yet.
            eventually(lambda: regions_down(platform) == {"fra", "sgp"}, "both regions are seen to be down")
        finally:
            signal_all(family, signal.SIGCONT)
        assert "Critical" in json.dumps(heard[0])
        incident = worst(platform)
        figures = incident["figures"]
        # The SOP's users wait for nobody: 5 s from the first failed journey to somebody who knows.
        assert figures["declared_s"] <= figures["notified_s"] < 5.0, figures
        eventually(lambda: worst(platform)["state"] == "mitigated", "it ends with its cause", 60)
        minutes = platform.siaga("uptime", "--json").document
        assert minutes["bad_ms"] >= 500
        wanted = {"uptime.outage", "incident.opened", "incident.notified", "incident.mitigated"}
        # People are told first, then it is recorded.
        eventually(lambda: wanted <= recorded(platform), "all of it is in the evidence")


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def regions_down(platform: Platform) -> set[str]:
    outage = platform.siaga("uptime", "--json").document["outage"]
    return set(outage["regions"]) if outage else set()


def recorded(platform: Platform) -> set[str]:
    shown = platform.siaga("evidence", "show", "--count", "500", "--json").document["records"]
    return {record["kind"] for record in shown}


def worst(platform: Platform) -> Any:
    listed = platform.siaga("incidents", "list", "--json").document["incidents"]
    found = [one for one in listed if one["level"] == 3]
    return platform.siaga("incidents", "show", found[-1]["id"], "--json").document
