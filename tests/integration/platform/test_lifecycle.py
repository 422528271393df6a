"""`up`, `down`, `status`: from nothing, over whatever is left, and back to nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from platform_under_test import Platform, eventually

from siaga.hosts import processes


def answers(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return int(answer.status)
    except OSError:
        return 0


def test_every_part_runs_and_users_of_every_region_are_served(platform: Platform) -> None:
    status = platform.status()
    names = {part["name"] for part in status["parts"]}
    assert {"keeper", "transactions-1", "transactions-2", "history-1", "pgbouncer", "front-door", "controller"} <= names
    assert {f"sessions-{n}" for n in range(1, 7)} | {"sgp-1", "sgp-2", "fra-1", "fra-2"} <= names
    assert {part["state"] for part in status["parts"]} == {"running"}
    doors = status["front_door"].values()
    eventually(lambda: all(answers(f"{door}/readyz") == 200 for door in doors), "users are served")
    assert {loop["name"] for loop in status["controller"]["loops"]} >= {"traffic", "sessions", "keeper"}


def test_a_second_up_adopts_what_runs(platform: Platform) -> None:
    before = platform.pids()
    again = platform.siaga("up", "--detach", "--json")
    assert again.code == 0, again.stderr
    assert {part["name"]: part["pid"] for part in again.document["parts"]} == before


@pytest.mark.parametrize("name", ["front-door", "pgbouncer", "sgp-1", "sessions-1", "transactions-2", "distance"])
def test_a_part_that_is_killed_comes_back_and_users_are_served(platform: Platform, name: str) -> None:
    before = platform.part(name)
    os.kill(before["pid"], signal.SIGKILL)
    eventually(
        lambda: (part := platform.part(name))["state"] == "running" and part["pid"] != before["pid"], f"{name} is back"
    )
    doors = platform.status()["front_door"].values()
    eventually(lambda: all(answers(f"{door}/readyz") == 200 for door in doors), "users are served")


def test_killing_the_keeper_stops_nobody_and_the_controller_starts_another(platform: Platform) -> None:
    before = platform.pids()
    assert before["keeper"] is not None
    os.kill(before["keeper"], signal.SIGKILL)
    eventually(lambda: platform.pids()["keeper"] not in (None, before["keeper"]), "a new keeper answers")
    after = platform.pids()
    assert {name: pid for name, pid in after.items() if name != "keeper"} == {
        name: pid for name, pid in before.items() if name != "keeper"
    }


def test_status_works_and_says_so_with_the_controller_dead(platform: Platform) -> None:
    controller = platform.part("controller")
    os.kill(controller["pid"], signal.SIGSTOP)
    try:
        answer = platform.siaga("status", "--json")
        assert answer.code == 1
        assert answer.document["controller"]["loops"] == []
        assert "does not answer" in answer.document["controller"]["why"]
        assert platform.siaga("traffic", "show").code == 5
    finally:
        os.kill(controller["pid"], signal.SIGCONT)
    eventually(lambda: platform.siaga("status").code == 0, "the controller answers again")


def test_no_secret_is_in_an_argument_a_log_or_a_record(platform: Platform) -> None:
    secrets = {path.name: path.read_text().strip() for path in (platform.home / "secrets").iterdir()}
    words = [secret.split()[-1].rpartition(":")[2] for secret in secrets.values()]
    assert len(words) > 8 and all(len(word) > 20 for word in words)
    shown = "\n".join(platform.processes())
    shown += "".join(path.read_text(errors="replace") for path in (platform.home / "logs").iterdir())
    shown += "".join(path.read_text() for path in (platform.home / "controller").glob("*.json*"))
    shown += platform.siaga("status", "--json").stdout
    assert [name for name, secret in secrets.items() if secret in shown] == []
    assert [word for word in words if word in shown] == []
    modes = {path.name: oct(path.stat().st_mode & 0o077) for path in (platform.home / "secrets").iterdir()}
    assert set(modes.values()) == {"0o0"}


def test_no_process_of_the_platform_runs_as_root(platform: Platform) -> None:
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in platform.pids().values() if pid is not None}
    assert len(owners) == 1
    assert owners != {0}


def test_the_api_needs_a_login(platform: Platform) -> None:
    controller = platform.status()["controller"]["address"]
    assert answers(f"{controller}/livez") == 200
    assert answers(f"{controller}/readyz") == 200
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{controller}/v1/status", timeout=3)
    assert refused.value.code == 401
    token = (platform.home / "secrets/controller-token").read_text()
    request = urllib.request.Request(f"{controller}/v1/status", headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=3) as answer:
        assert answer.status == 200

    # How much each node carries is traffic's affair: here its parts have been killed, and some may just be coming back.
    with urllib.request.urlopen(f"{controller}/metrics", timeout=3) as answer:
        figures = answer.read().decode()
    weights = dict(re.findall(r'^siaga_node_weight_percent\{node="([^"]+)"\} (\S+)$', figures, re.MULTILINE))
    assert set(weights) == {"sgp-1", "sgp-2", "fra-1", "fra-2"}
    assert all(0 <= float(weight) <= 100 for weight in weights.values())


def test_purge_says_first_what_it_would_remove(platform: Platform) -> None:
    plan = platform.siaga("down", "--purge", "--dry-run", "--json")
    assert plan.code == 0
    assert str(platform.home) in plan.document["would_remove"]
    assert "transactions-1" in plan.document["would_stop"]
    eventually(lambda: platform.siaga("status").code == 0, "all of it still runs")


@pytest.fixture(scope="class")
def alone(directories: Callable[[], Path]) -> Iterator[Platform]:
    platform = Platform(directories() / "home")
    yield platform
    platform.siaga("down", "--purge")


class TestFromNothingAndBack:
    """One platform through its whole life, in order."""

    def test_two_ups_at_once_make_one_platform(self, alone: Platform) -> None:
        both = [alone.start("up", "--detach", "--json") for _ in range(2)]
        answers_of_both = [up.communicate(timeout=120) for up in both]
        assert [up.returncode for up in both] == [0, 0], answers_of_both
        # The keeper and the servers run once each: every listener belongs to one process.
        assert len([line for line in alone.processes() if "siaga.hosts.keeper" in line]) == 1
        assert len([line for line in alone.processes() if "--config-path" in line]) == 1

    def test_down_leaves_nothing_running_and_keeps_the_data(self, alone: Platform) -> None:
        assert alone.siaga("down").code == 0
        eventually(lambda: alone.processes() == [], "nothing runs any more", 5)
        assert (alone.home / "transactions-1/PG_VERSION").exists()
        assert alone.siaga("status").code == 1
        assert alone.siaga("down").code == 0

    def test_a_port_taken_meanwhile_is_named(self, alone: Platform) -> None:
        port = json.loads((alone.home / "platform.json").read_text())["ports"]["pgbouncer"]
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            refused = alone.siaga("up", "--detach")
        assert refused.code == 1
        assert f"port {port} of `pgbouncer` is taken" in refused.stderr
        assert "hint:" in refused.stderr

    def test_data_of_another_version_is_refused_and_untouched(self, alone: Platform) -> None:
        version = alone.home / "transactions-1/PG_VERSION"
        found = version.read_text()
        version.write_text("16\n")
        try:
            refused = alone.siaga("up", "--detach")
            assert refused.code == 2, refused.stderr
            assert "transactions-1 holds data of PostgreSQL 16" in refused.stderr
            assert version.read_text() == "16\n"
        finally:
            version.write_text(found)

    def test_it_comes_back_with_its_data_after_everything_was_killed_at_once(self, alone: Platform) -> None:
        assert alone.siaga("up", "--detach").code == 0
        pids = [pid for pid in alone.pids().values() if pid is not None]
        by_name = alone.pids()
        family = [process for pid in pids if (process := processes.find(pid)) is not None]
        # The controller would start a new keeper, and the keeper whatever is dead: those two first.
        for name in ("controller", "keeper"):
            os.kill(by_name[name] or 0, signal.SIGSTOP)
        for process in family:
            processes.send_to_family(process, signal.SIGKILL)
        eventually(lambda: alone.processes() == [], "every process is gone")
        # Sockets and pid files of the dead are still there.
        again = alone.siaga("up", "--detach", "--json")
        assert again.code == 0, again.stderr
        assert {part["state"] for part in again.document["parts"]} == {"running"}

    def test_an_interrupted_first_copy_of_the_replica_is_made_anew(self, alone: Platform) -> None:
        assert alone.siaga("down").code == 0
        replica = alone.home / "transactions-2"
        half = alone.home / "transactions-2.new"
        replica.rename(half)
        again = alone.siaga("up", "--detach")
        assert again.code == 0, again.stderr
        assert alone.part("transactions-2")["state"] == "running"
        assert not half.exists()

    def test_in_the_foreground_ctrl_c_stops_it_and_keeps_its_data(self, alone: Platform) -> None:
        foreground = alone.start("up")
        assert foreground.stderr is not None
        said = iter(foreground.stderr.readline, "")
        assert any("Ctrl-C stops the platform" in line for line in said)
        eventually(lambda: alone.siaga("status").code == 0, "every loop has made its first pass")
        foreground.send_signal(signal.SIGINT)
        foreground.communicate(timeout=60)
        assert foreground.returncode == 0
        eventually(lambda: alone.processes() == [], "nothing runs any more", 5)
        assert (alone.home / "transactions-1/PG_VERSION").exists()

    def test_purge_removes_everything(self, alone: Platform) -> None:
        assert alone.siaga("down", "--purge").code == 0
        assert not alone.home.exists()
        eventually(lambda: alone.processes() == [], "nothing runs any more", 5)
        missing = alone.siaga("status")
        assert missing.code == 2
        assert "siaga up" in missing.stderr


def test_purge_never_removes_a_directory_that_is_no_platform(directories: Callable[[], Path]) -> None:
    strange = directories()
    (strange / "holiday.jpg").write_text("not ours")
    refused = Platform(strange).siaga("down", "--purge")
    assert refused.code == 4
    assert (strange / "holiday.jpg").exists()


def test_up_never_takes_over_a_directory_that_holds_something_else(directories: Callable[[], Path]) -> None:
    strange = directories()
    (strange / "holiday.jpg").write_text("not ours")
    if os.geteuid() != 0:
        # An ordinary user's own directory is theirs to use; only another's is refused.
        strange = Path("/usr/lib")
    before = strange.stat()
    refused = Platform(strange).siaga("up", "--detach")
    assert refused.code == 2
    assert "belongs to uid" in refused.stderr
    assert (strange.stat().st_uid, strange.stat().st_mode) == (before.st_uid, before.st_mode)


def test_a_disk_without_room_is_told_before_anything_is_made(directories: Callable[[], Path]) -> None:
    small = directories() / "small"
    small.mkdir()
    # In a mount namespace of its own, so that the little disk disappears with the command. An ordinary user
    # may mount there as its root only, and is mapped back to itself for the command.
    command = " ".join(Platform.command("up", "--detach"))
    flags = ["--mount"]
    if os.geteuid() != 0:
        flags = ["--user", "--map-root-user", "--mount"]
        command = f"unshare --user --map-user={os.geteuid()} --map-group={os.getegid()} {command}"
    script = f"mount -t tmpfs -o size=64m,mode=755 none {small} && exec {command}"
    done = subprocess.run(
        ["unshare", *flags, "sh", "-c", script],
        env={**os.environ, "SIAGA_HOME": str(small / "home")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert "MiB are free" in done.stderr and "SIAGA_HOME" in done.stderr


@pytest.mark.clause("ZDT-1.1a")
def test_three_regions_of_different_sizes_work_the_same(directories: Callable[[], Path], tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(
        """
        name = "three"
        embedded = true
        [[regions]]
        name = "sgp"
        nodes = [{ name = "sgp-1" }, { name = "sgp-2" }, { name = "sgp-3" }]
        [[regions]]
        name = "fra"
        nodes = [{ name = "fra-1" }]
        [[regions]]
        name = "lon"
        nodes = [{ name = "lon-1" }]
        [[distances]]
        between = ["sgp", "fra"]
        round_trip_ms = 120
        [[distances]]
        between = ["sgp", "lon"]
        round_trip_ms = 150
        [[distances]]
        between = ["fra", "lon"]
        round_trip_ms = 20
        """
    )
    platform = Platform(directories() / "home")
    try:
        up = platform.siaga("up", "--detach", "--json", "--site", str(site))
        assert up.code == 0, up.stderr
        assert set(up.document["front_door"]) == {"sgp", "fra", "lon"}
        doors = up.document["front_door"].values()
        eventually(lambda: all(answers(f"{door}/readyz") == 200 for door in doors), "users are served")
        lost = platform.pids()["lon-1"]
        assert lost is not None
        os.kill(lost, signal.SIGSTOP)
        began = time.monotonic()
        # A region of one node: its users are served by the next region, without waiting for the controller.
        assert answers(f"{up.document['front_door']['lon']}/livez") == 200
        assert time.monotonic() - began < 2.0
        os.kill(lost, signal.SIGCONT)
    finally:
        platform.siaga("down", "--purge")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense = 1\nembedded = true\n", "nonsense"),
        ("embedded = true\n[limits.traffic]\ndivert_s_max = 12\n", "ZDT-1.1a"),
        ("embedded = true\n[limits.traffic]\nlatencey_ms_max = 400\n", "latency_ms_max"),
        ('embedded = true\n[[regions]]\nname = "sgp"\nnodes = []\n', "nodes"),
        ("embedded = \n", "TOML"),
    ],
)
def test_a_bad_site_file_is_refused_and_nothing_is_made(
    directories: Callable[[], Path], tmp_path: Path, text: str, said: str
) -> None:
    site = tmp_path / "site.toml"
    site.write_text(text)
    platform = Platform(directories() / "home")
    refused = platform.siaga("up", "--detach", "--site", str(site))
    assert refused.code == 2, refused.stderr
    assert said in refused.stderr
    assert "hint:" in refused.stderr
    assert not platform.home.exists()
