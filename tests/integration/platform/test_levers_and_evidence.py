"""The safety lever, the modes of clauses and the evidence, on a running platform (SUM)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_under_test import Platform, eventually


def node(platform: Platform, name: str) -> Any:
    return next(n for n in platform.siaga("traffic", "show", "--json").document["nodes"] if n["node"] == name)


def part(platform: Platform, name: str) -> Any:
    return next(p for p in platform.status()["parts"] if p["name"] == name)


BAD = "fra-2"


@pytest.fixture
def hang(platform: Platform) -> Iterator[Callable[[], None]]:
    """Makes a node take connections and answer nothing, until the test ends."""

    def serves() -> bool:
        seen = node(platform, BAD)
        return bool(seen["verdict"] == "healthy" and seen["weight_percent"] == 100)

    eventually(serves, f"{BAD} is healthy and has all its users", 90)
    pid = part(platform, BAD)["pid"]
    yield lambda: os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    platform.siaga("resume", "--reason", "the test is over")
    platform.siaga("sop", "mode", "ZDT-1.1a", "act", "--reason", "the test is over")
    platform.siaga("traffic", "restore", BAD)
    eventually(lambda: node(platform, BAD)["weight_percent"] == 100, f"{BAD} serves again", 60)


@pytest.mark.clause("SUM")
def test_halt_holds_every_automatic_act_and_probes_go_on(platform: Platform, hang: Callable[[], None]) -> None:
    assert platform.siaga("halt", "--reason", "a test").code == 0
    hang()
    eventually(lambda: node(platform, BAD)["verdict"] == "bad", "it is seen to be bad")
    eventually(lambda: "halted" in node(platform, BAD)["why"], "it says why it is not drained")
    assert node(platform, BAD)["weight_percent"] == 100
    assert "HALTED: a test" in platform.siaga("status").stdout
    assert platform.siaga("sop", "--json").document["halted"].startswith("a test")
    assert platform.siaga("resume", "--reason", "seen enough").code == 0
    eventually(lambda: node(platform, BAD)["state"] == "drained", "it is drained once the lever is up")
    kinds = [r["kind"] for r in platform.siaga("evidence", "show", "--kind", "lever", "--json").document["records"]]
    assert kinds[-2:] == ["lever.halt", "lever.resume"]


@pytest.mark.clause("SUM")
def test_in_mode_approve_a_person_says_yes_first(platform: Platform, hang: Callable[[], None]) -> None:
    assert platform.siaga("sop", "mode", "ZDT-1.1a", "approve", "--reason", "a test").code == 0
    hang()
    what = f"drain {BAD}"
    eventually(
        lambda: what in [a["what"] for a in platform.siaga("approvals", "--json").document["approvals"]],
        "it asks for a yes",
    )
    assert node(platform, BAD)["weight_percent"] == 100
    assert platform.siaga("approvals", "give", "drain fra-1").code == 2
    assert platform.siaga("approvals", "give", what).code == 0
    eventually(lambda: node(platform, BAD)["state"] == "drained", "it is drained after the yes")
    found = platform.siaga("evidence", "show", "--kind", "approval", "--json").document["records"]
    assert found[-1]["reason"].startswith(f"{what} allowed")
    assert platform.siaga("sop", "ZDT-1.1a", "--json").document["clauses"][0]["mode"] == "approve"


@pytest.mark.clause("SUM")
def test_in_mode_advise_it_keeps_the_score_of_what_people_did(platform: Platform, hang: Callable[[], None]) -> None:
    assert platform.siaga("sop", "mode", "ZDT-1.1a", "advise", "--reason", "a test").code == 0
    hang()
    eventually(lambda: "advise" in node(platform, BAD)["why"], "it says that it only advises")
    assert node(platform, BAD)["weight_percent"] == 100
    assert platform.siaga("traffic", "drain", BAD).code == 0
    eventually(
        lambda: (
            [r["reason"] for r in platform.siaga("evidence", "show", "--kind", "advice", "--json").document["records"]][
                -1:
            ]
            == [f"advice to drain {BAD}: agreed"]
        ),
        "the advice is answered",
    )


@pytest.mark.clause("SUM")
def test_the_evidence_is_witnessed_and_an_export_is_verified_without_siaga(platform: Platform, tmp_path: Path) -> None:
    assert platform.siaga("evidence", "checkpoint").code == 0
    verified = platform.siaga("evidence", "verify", "--json")
    assert (verified.code, verified.document["holds"]) == (0, True), verified.stdout
    target = tmp_path / "export"
    assert platform.siaga("evidence", "export", str(target)).code == 0
    verifier = next(target.glob("verify*.py"))
    keys = platform.home / "controller/keys"
    command = [sys.executable, "-I", str(verifier), str(target), "--log-key", str(keys / "log.pub")]
    done = subprocess.run([*command, "--witness-key", str(keys / "witness.pub")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    log = next((target / "log").glob("*.jsonl"))
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    done = subprocess.run([*command, "--witness-key", str(keys / "witness.pub")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "record" in done.stdout


@pytest.mark.clause("SUM")
def test_the_log_signs_with_a_new_key_and_the_evidence_still_holds(platform: Platform) -> None:
    before = (platform.home / "controller/keys/log.pub").read_text().splitlines()
    assert platform.siaga("evidence", "rotate", "log", "--reason", "a test").code == 0
    assert (platform.home / "controller/keys/log.pub").read_text().splitlines()[:-1] == before
    assert platform.siaga("evidence", "checkpoint").code == 0
    assert platform.siaga("evidence", "verify").code == 0


@pytest.mark.clause("SUM")
def test_a_killed_controller_goes_on_with_a_drill_and_heals_what_it_broke(platform: Platform) -> None:
    drill = platform.start("drill", "node-errors", "--target", "sgp-2", "--seconds", "6", "--rate", "60", "--json")
    try:
        eventually(lambda: "hold the fault" in _now(platform), "the fault is in force", 90)
        controller = part(platform, "controller")["pid"]
        os.kill(controller, signal.SIGKILL)
        stdout, stderr = drill.communicate(timeout=240)
    finally:
        drill.kill()
    run = platform.siaga("runs", "list", "--json").document["runs"][0]
    assert run["state"] == "done", (stdout, stderr)
    held = platform.siaga("evidence", "show", "--kind", "drill", "--json").document["records"][-1]
    assert held["figures"]["drill"] == "node-errors"
    assert held["figures"]["where"] == "embedded"
    eventually(lambda: node(platform, "sgp-2")["verdict"] == "healthy", "the node is healed", 60)


def _now(platform: Platform) -> str:
    runs = platform.siaga("runs", "list", "--json").document["runs"]
    return str(runs[0]) if runs else ""
