"""The leader dies during an outage, and one with a directory of its own goes on: same incident, one page, one month."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from incident_receivers import Receiver, receiver
from platform_under_test import Platform, eventually
from wallet_servers import free_ports

from siaga.controller.client import ControllerClient
from siaga.errors import SiagaError
from siaga.hosts import processes

SITE = """
name = "apart"
embedded = true
[controller]
state = "postgresql"
[[notifications]]
name = "chief"
kind = "apprise"
secret = "chief-url"
level_min = 3
"""
NAME = "elsewhere"


@dataclass
class Elsewhere:
    """A second controller, as on another machine: the state's database is all that it shares of the first's state."""

    directory: Path
    run: Path
    process: subprocess.Popen[bytes]

    def asked(self, path: str) -> Any:
        """None unless it leads."""
        try:
            return asyncio.run(ControllerClient([self.run / f"{NAME}.sock"], 5.0).get(path))
        except SiagaError:
            return None


@contextlib.contextmanager
def elsewhere(platform: Platform, directory: Path) -> Iterator[Elsewhere]:
    """Stands by; everything of the platform is where it was, but `controller/` is its own, with the same keys."""
    first = processes.find(platform.part("controller")["pid"])
    assert first is not None
    *program, state, run, _ = Path(f"/proc/{first.pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    environment = dict(
        line.split("=", 1) for line in Path(f"/proc/{first.pid}/environ").read_text().split("\0") if "=" in line
    )
    assert Path(state) == platform.home
    for entry in platform.home.iterdir():
        if entry.name not in ("controller", "platform.json"):
            (directory / entry.name).symlink_to(entry)
    shutil.copytree(platform.home / "controller", directory / "controller")
    layout = json.loads((platform.home / "platform.json").read_text())
    layout["ports"][NAME] = free_ports(1)[0]
    (directory / "platform.json").write_text(json.dumps(layout))
    owner = Path(f"/proc/{first.pid}").stat()
    for path in (directory, directory / "platform.json", *directory.glob("controller/**/*"), directory / "controller"):
        os.chown(path, owner.st_uid, owner.st_gid)
    account: dict[str, Any] = {}
    if os.geteuid() != owner.st_uid:
        account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*program, str(directory), run, NAME], env=environment, cwd="/", stdout=log, stderr=log, **account
        )
    try:
        yield Elsewhere(directory, Path(run), process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


@asynccontextmanager
async def told_platform(directory: Path) -> AsyncIterator[tuple[Platform, Receiver]]:
    """A platform whose chief is a real receiver on loopback."""
    directory.joinpath("site.toml").write_text(SITE)
    platform = Platform(directory / "home")
    async with receiver() as chief:
        try:
            up = await asyncio.to_thread(
                platform.siaga, "up", "--detach", "--site", str(directory / "site.toml"), deadline_s=300
            )
            assert up.code == 0, up.stderr
            secret = platform.home / "secrets/chief-url"
            secret.write_text(chief.url.replace("http://", "json://"))
            secret.chmod(0o600)
            owner = secret.parent.stat()
            os.chown(secret, owner.st_uid, owner.st_gid)
            yield platform, chief
        finally:
            await asyncio.to_thread(platform.siaga, "down", "--purge")


@pytest.mark.clause("ZDT-1")
async def test_a_leader_killed_during_an_outage_is_followed_by_one_elsewhere_that_knows_of_it(
    directories: Callable[[], Path],
) -> None:
    async with told_platform(directories()) as (platform, chief):
        with elsewhere(platform, directories()) as other:
            await asyncio.to_thread(_stands_by, platform, other)
            database = processes.find(platform.part("transactions-1")["pid"])
            assert database is not None
            processes.send_to_family(database, signal.SIGSTOP)
            try:
                await chief.until(lambda messages: any(_is_page(each) for each in messages))
                await asyncio.to_thread(_killed_and_followed, platform, other)
            finally:
                processes.send_to_family(database, signal.SIGCONT)
            await asyncio.to_thread(_over, platform, other)
            pages = [each for each in chief.heard if _is_page(each)]
            assert len(pages) == 1, pages
            for place in (platform.home, other.directory):
                kept = {path.name for path in (place / "controller").iterdir()}
                assert not kept & {"uptime.sqlite", "incidents.json", "incidents.jsonl", "deliveries.jsonl"}


def _is_page(message: Any) -> bool:
    """Told of what began; not that somebody looks after it, or that it is over."""
    return bool(message["title"].startswith("Level 3 · Critical: "))


def _stands_by(platform: Platform, other: Elsewhere) -> None:
    eventually(lambda: _minutes(platform)["good_ms"] > 3_000, "the minutes are measured", 60)
    eventually(lambda: b"stands by" in (other.directory / "log").read_bytes(), "the other one stands by", 60)


def _killed_and_followed(platform: Platform, other: Elsewhere) -> None:
    (opened,) = _of_level_3(platform.siaga("incidents", "list", "--json").document)
    assert platform.siaga("incidents", "acknowledge", opened["id"]).code == 0
    # Until every region's journeys have failed, one that hangs may yet move the onset back to its own start.
    eventually(lambda: set(_minutes(platform)["outage"]["regions"]) == {"fra", "sgp"}, "both regions are down", 60)
    before = _minutes(platform)
    assert before["from"] == "controller"
    os.kill(platform.part("controller")["pid"], signal.SIGKILL)
    eventually(lambda: other.asked("/v1/uptime"), "the other one leads", 60)
    found = other.asked("/v1/uptime")
    assert before["outage"]["onset_ms"] in [each["onset_ms"] for each in found["outages"]]
    assert found["good_ms"] >= before["good_ms"] - 1_000
    assert found["bad_ms"] >= before["bad_ms"] - 1_000
    (goes_on,) = _of_level_3(other.asked("/v1/incidents"))
    assert (goes_on["id"], bool(goes_on["acknowledged_by"])) == (opened["id"], True)
    assert goes_on["told"] == "told by chief"


def _minutes(platform: Platform) -> Any:
    return platform.siaga("uptime", "--json").document


def _over(platform: Platform, other: Elsewhere) -> None:
    def ended() -> bool:
        (found,) = _of_level_3(other.asked("/v1/incidents"))
        return bool(found["state"] in ("mitigated", "resolved"))

    eventually(ended, "the incident ends with its cause", 90)
    month = other.asked("/v1/uptime")
    # The first one stands by now: without a leader that they know commands read what was kept.
    kept = _minutes(platform)
    assert kept["from"] == "store"
    assert kept["good_ms"] >= month["good_ms"] - 2_000
    assert [each["onset_ms"] for each in kept["outages"]] == [each["onset_ms"] for each in month["outages"]]


def _of_level_3(listed: Any) -> list[Any]:
    return [one for one in listed["incidents"] if one["level"] == 3]
