"""A whole platform whose controllers share a PostgreSQL of their own: one leads, users never notice which."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_under_test import Platform, eventually

from siaga.controller.client import ControllerClient
from siaga.errors import SiagaError
from siaga.hosts import processes
from siaga.platform import account
from siaga.platform.account import Home

SITE = """
name = "two"
embedded = true
[controller]
state = "postgresql"
standby = true
"""


def served(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=3) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def asked(platform: Platform, path: str, deadline_s: float = 2.0) -> Any:
    """As the commands ask, without starting an interpreter for each look; None when nobody leads."""
    run = account._run_directory(platform.home)
    sockets = [Home(platform.home, run).controller_socket(name) for name in ("controller", "controller-b")]
    try:
        return asyncio.run(ControllerClient(sockets, deadline_s).get(path))
    except SiagaError:
        return None


def leader(platform: Platform) -> Any:
    """Of whoever answers as the leader."""
    return asked(platform, "/v1/leader")["leader"] if asked(platform, "/v1/status") else None


def both_watch(platform: Platform) -> bool:
    """One leads and the other one is ready to."""
    found = leader(platform)
    if found is None:
        return False
    other = {"controller": "controller-b", "controller-b": "controller"}[found["name"]]
    ports = json.loads((platform.home / "platform.json").read_text())["ports"]
    return served(f"http://127.0.0.1:{ports[other]}")


@pytest.fixture(scope="class")
def two(directories: Callable[[], Path]) -> Iterator[Platform]:
    directory = directories()
    site = directory / "site.toml"
    site.write_text(SITE)
    platform = Platform(directory / "home")
    try:
        up = platform.siaga("up", "--detach", "--site", str(site))
        assert up.code == 0, up.stderr
        yield platform
    finally:
        platform.siaga("down", "--purge")
    eventually(lambda: platform.processes() == [], "nothing runs any more", 5)


class TestTwoControllers:
    """One platform through fault after fault, in order."""

    def test_one_leads_the_other_stands_by_and_commands_find_the_one_that_leads(self, two: Platform) -> None:
        status = two.status()
        states = {part["name"]: part["state"] for part in status["parts"]}
        assert states["control-db"] == states["controller"] == states["controller-b"] == "running"
        assert status["controller"]["leader"]["epoch"] >= 1
        assert two.siaga("traffic", "show").code == 0

    def test_a_standby_answers_that_it_stands_by_and_who_leads(self, two: Platform) -> None:
        led = leader(two)["name"]
        other = {"controller": "controller-b", "controller-b": "controller"}[led]
        token = (two.home / "secrets/controller-token").read_text()
        ports = json.loads((two.home / "platform.json").read_text())["ports"]

        def ask(path: str, *, login: bool = True) -> tuple[int, Any]:
            headers = {"authorization": f"Bearer {token}"} if login else {}
            request = urllib.request.Request(f"http://127.0.0.1:{ports[other]}{path}", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=3) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as refused:
                return refused.code, json.load(refused)

        assert ask("/livez", login=False)[0] == 200
        assert ask("/readyz", login=False)[1]["ready"] is True
        assert ask("/v1/leader", login=False)[0] == 401
        assert ask("/v1/leader")[1]["leader"]["name"] == led
        code, said = ask("/v1/traffic")
        assert (code, said["exit_code"]) == (503, 5)
        assert led in said["hint"]

    @pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
    def test_the_other_one_goes_on_after_a_fault(self, two: Platform, signum: int) -> None:
        before = leader(two)
        os.kill(before["pid"], signum)
        # How soon is measured by `benchmarks.takeover`: here a whole platform starts to work on a busy machine.
        seen = [before]

        def another_leads() -> bool:
            # One that was just started again answers too, and does not know yet who leads.
            seen.append(leader(two) or before)
            return bool(seen[-1]["epoch"] > before["epoch"])

        eventually(another_leads, "another leads")
        assert seen[-1]["name"] != before["name"]
        eventually(lambda: processes.find(before["pid"]) is None, "the old one is dead", 5.0)
        eventually(lambda: both_watch(two), "the old one stands by")

    def test_without_its_database_nobody_acts_and_users_are_served(self, two: Platform) -> None:
        before = leader(two)
        database = processes.find(two.part("control-db")["pid"])
        assert database is not None
        processes.send_to_family(database, signal.SIGSTOP)
        try:
            eventually(lambda: leader(two) is None, "nobody leads")
            eventually(lambda: "nobody leads" in two.status()["controller"]["why"], "status says so")
            assert two.siaga("traffic", "drain", "sgp-1").code == 5
            doors = two.status()["front_door"].values()
            eventually(lambda: all(served(door) for door in doors), "users are served")
            assert leader(two) is None, "and still nobody leads"
        finally:
            processes.send_to_family(database, signal.SIGCONT)
        eventually(lambda: both_watch(two), "one leads again")
        assert leader(two)["epoch"] > before["epoch"]

    def test_a_second_up_adopts_both(self, two: Platform) -> None:
        before = two.pids()
        assert two.siaga("up", "--detach").code == 0
        assert two.pids() == before

    def test_no_password_of_the_state_is_in_an_argument_or_a_log(self, two: Platform) -> None:
        shown = "\n".join(two.processes())
        shown += "".join(path.read_text(errors="replace") for path in (two.home / "logs").iterdir())
        for name in ("control-db", "control-db-admin"):
            assert (two.home / "secrets" / name).read_text().strip() not in shown
