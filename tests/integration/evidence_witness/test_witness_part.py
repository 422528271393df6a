"""The witness as a part of the platform: kept alive, with a key and a directory of its own."""

from __future__ import annotations

import os
import signal

import pytest
from platform_under_test import Platform, eventually

pytestmark = pytest.mark.clause("SUM")


def test_a_killed_witness_is_started_again_with_the_same_key(platform: Platform) -> None:
    first = platform.part("witness")
    assert (first["kind"], first["state"]) == ("witness", "running")
    directory = platform.home / "witness"
    key = (directory / "witness.pub").read_text()
    os.kill(first["pid"], signal.SIGKILL)
    eventually(lambda: platform.part("witness")["pid"] not in (None, first["pid"]), "the witness runs again")
    assert (directory / "witness.pub").read_text() == key
    assert platform.part("witness")["state"] == "running"


def test_its_directory_is_not_below_the_controller_s(platform: Platform) -> None:
    assert not (platform.home / "controller" / "witness.key").exists()
    assert (platform.home / "witness" / "witness.key").stat().st_mode & 0o077 == 0
