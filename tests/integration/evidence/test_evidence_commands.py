"""`siaga evidence`, and the verifier that goes with an export, as a user and an auditor run them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from signed_evidence import SignedEvidence, a_record, key, witness_key

from siaga.cli.main import main

pytestmark = [pytest.mark.clause("SUM"), pytest.mark.filterwarnings("ignore:Cyclopts application invoked")]


@pytest.fixture
def evidence(tmp_path: Path) -> SignedEvidence:
    """Forty records, thirty of them witnessed, with the public keys beside them."""
    made = SignedEvidence(tmp_path / "state/evidence")
    made.count(10)
    made.checkpoint()
    made.add(*(a_record("traffic.drain", f"drained node {n}") for n in range(20)))
    made.checkpoint()
    made.count(10)
    made.write([0, 12])
    keys = tmp_path / "state/keys"
    keys.mkdir()
    (keys / "log.pub").write_text(f"{key(1).public.text}\n")
    (keys / "witness.pub").write_text(f"{witness_key().public.text}\n")
    return made


Siaga = Callable[..., "Said"]


@dataclass(frozen=True)
class Said:
    """What a command said."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def siaga(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`siaga evidence ...`, in this process: starting a new one costs seconds."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["siaga", "evidence", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    return run


def offline(target: Path, keys: Path, *more: object, verifier: Path | None = None) -> subprocess.CompletedProcess[str]:
    """As an auditor does: isolated from our environment, in another directory."""
    program = verifier or target / "verify_export.py"
    names = ("--log-key", keys / "log.pub", "--witness-key", keys / "witness.pub")
    command = [sys.executable, "-I", program, target, *names, *more]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False, cwd="/")


def document(done: Said | subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_an_export_is_verified_by_the_file_that_goes_with_it(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path
) -> None:
    target = tmp_path / "audit"
    done = siaga("export", target, "--directory", evidence.directory, "--json")
    assert done.returncode == 0, done.stderr
    assert document(done) == {
        "target": str(target),
        "origin": "siaga/test/1",
        "first": 0,
        "records": 30,
        "left_out": 10,
    }
    assert sorted(path.name for path in target.iterdir()) == [
        "README.txt", "checkpoints.jsonl", "log", "log.pub", "origin", "verify_export.py", "witness.pub",
    ]  # fmt: skip
    assert target.stat().st_mode & 0o777 == 0o700
    verified = offline(target, tmp_path / "state/keys")
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.splitlines()[-1] == "PROVEN"
    assert "records 0 to 29: form and chain hold" in verified.stdout


def test_the_newest_records_are_exported_on_request_and_not_called_proven(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path
) -> None:
    target = tmp_path / "audit"
    assert siaga("export", target, "--directory", evidence.directory, "--unwitnessed").returncode == 0
    verified = offline(target, tmp_path / "state/keys", "--json")
    assert verified.returncode == 3
    assert document(verified)["verdict"] == "intact, not all of it witnessed"


def test_an_export_in_one_file_and_one_in_an_archive_are_verified_too(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path
) -> None:
    for name in ("audit.jsonl", "audit.tar", "audit.tar.gz"):
        assert siaga("export", tmp_path / name, "--directory", evidence.directory).returncode == 0
    for name in ("audit.tar", "audit.tar.gz"):
        (tmp_path / f"{name}-opened").mkdir()
        subprocess.run(["tar", "xf", tmp_path / name, "-C", tmp_path / f"{name}-opened"], check=True)
        verified = offline(tmp_path / f"{name}-opened/audit", tmp_path / "state/keys")
        assert verified.returncode == 0, verified.stdout
    verifier = tmp_path / "audit.tar-opened/audit/verify_export.py"
    verified = offline(tmp_path / "audit.jsonl", tmp_path / "state/keys", "--json", verifier=verifier)
    assert verified.returncode == 0, verified.stdout
    assert document(verified)["size"] == 30


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("flip", "record 17: its content or its chain value was altered"),
        ("drop", "record 25: records 25 to 29 are missing"),
        ("cut", "record 29: records 29 to 29 are missing, the first of them half written"),
    ],
)
def test_a_damaged_export_is_named_by_record_offline(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path, damage: str, named: str
) -> None:
    target = tmp_path / "audit"
    siaga("export", target, "--directory", evidence.directory)
    path = target / f"log/{0:012d}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "flip":
        lines[17] = lines[17].replace(b"drained", b"drayned")
    elif damage == "drop":
        lines = lines[:25]
    else:
        lines[29] = lines[29][:80]
    path.write_bytes(b"".join(lines))
    verified = offline(target, tmp_path / "state/keys")
    assert verified.returncode == 1
    assert named in verified.stdout


def test_a_wrong_key_is_told_apart_from_a_file_that_is_no_key(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path
) -> None:
    target = tmp_path / "audit"
    siaga("export", target, "--directory", evidence.directory)
    keys = tmp_path / "other"
    shutil.copytree(tmp_path / "state/keys", keys)
    (keys / "witness.pub").write_text(f"{witness_key(9).public.text}\n")
    assert offline(target, keys).returncode == 1
    (keys / "witness.pub").write_text("no key\n")
    refused = offline(target, keys)
    assert refused.returncode == 2
    assert "witness.pub: public key of `no key` is no base64" in refused.stderr or "not a public key" in refused.stderr
    (keys / "witness.pub").unlink()
    assert offline(target, keys).returncode == 2
    assert offline(tmp_path / "nowhere", tmp_path / "state/keys", verifier=target / "verify_export.py").returncode == 2


def test_a_target_that_exists_is_not_overwritten(siaga: Siaga, evidence: SignedEvidence, tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    done = siaga("export", tmp_path / "audit", "--directory", evidence.directory)
    assert done.returncode == 2
    assert "expected a new name" in done.stderr
    assert siaga("export", tmp_path / "no/such/audit", "--directory", evidence.directory).returncode == 2
    assert list((tmp_path / "audit").iterdir()) == []


def test_verify_names_what_waits_for_the_witness_for_too_long(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path
) -> None:
    done = siaga("verify", "--directory", evidence.directory, "--json")
    assert done.returncode == 3
    assert document(done) | {"faults": [], "size": 40, "witnessed_size": 30, "holds": False} == document(done)


def test_verify_holds_when_all_of_it_is_witnessed(siaga: Siaga, evidence: SignedEvidence) -> None:
    evidence.checkpoint()
    done = siaga("verify", "--directory", evidence.directory)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HOLDS"


def test_verify_names_a_flipped_byte(siaga: Siaga, evidence: SignedEvidence) -> None:
    evidence.alter(23, lambda line: line.replace(b"drained", b"drayned"))
    done = siaga("verify", "--directory", evidence.directory)
    assert done.returncode == 1
    assert "record 23: its content or its chain value was altered" in done.stdout


def test_verify_without_keys_says_where_they_are_expected(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path
) -> None:
    done = siaga("verify", "--directory", evidence.directory, "--keys", tmp_path)
    assert done.returncode == 2
    assert "--keys" in done.stderr


def test_show_filters_by_kind_clause_time_and_count(siaga: Siaga, evidence: SignedEvidence) -> None:
    def numbers(*arguments: object) -> list[int]:
        done = siaga("show", "--directory", evidence.directory, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return [record["number"] for record in document(done)["records"]]

    assert numbers("--kind", "traffic", "--count", 3) == [27, 28, 29]
    assert numbers("--clause", "SUM") == list(range(20, 40))
    assert numbers("--clause", "PMT") == []
    assert numbers("--since", "2026-11-23T04:00:38") == [38, 39]
    assert numbers("--since", "2026-11-23T11:00:38+07:00") == [38, 39]
    assert numbers("--count", 100) == list(range(40))
    assert "drained node 19" in siaga("show", "--directory", evidence.directory, "--kind", "traffic.drain").stdout


@pytest.mark.parametrize("arguments", [("--count", 0), ("--since", "yesterday"), ("--directory", "/nowhere")])
def test_bad_input_is_refused_with_exit_code_2(
    siaga: Siaga, evidence: SignedEvidence, arguments: tuple[object, ...]
) -> None:
    base = ["show", "--directory", evidence.directory] if "--directory" not in arguments else ["show"]
    assert siaga(*base, *arguments).returncode == 2


def test_without_a_platform_it_says_so(siaga: Siaga, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIAGA_HOME", str(tmp_path / "home"))
    done = siaga("show")
    assert done.returncode == 2
    assert "there is no platform" in done.stderr
