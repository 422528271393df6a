"""`siaga report`, as a person runs it, on evidence that was signed and witnessed by real keys."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from reported_month import drained, drill
from signed_evidence import SignedEvidence, key, witness_key

from siaga.cli.main import main
from siaga.platform import packages
from siaga.sop.month import Month

pytestmark = [pytest.mark.clause("SUM"), pytest.mark.filterwarnings("ignore:Cyclopts application invoked")]
MONTH = "2026-11"
"""The one that the records of `SignedEvidence` are of."""


@dataclass(frozen=True)
class Said:
    """What the command said."""

    code: int
    stdout: str
    stderr: str


Siaga = Callable[..., Said]


@pytest.fixture
def evidence(tmp_path: Path) -> SignedEvidence:
    """Records of a drain and a drill, witnessed."""
    made = SignedEvidence(tmp_path / "state/evidence")
    made.add(drained(23, 1.2)[1], drill(23, holds=True)[1])
    made.count(10)
    made.checkpoint()
    made.write([0])
    keys = tmp_path / "state/keys"
    keys.mkdir()
    (keys / "log.pub").write_text(f"{key(1).public.text}\n")
    (keys / "witness.pub").write_text(f"{witness_key().public.text}\n")
    return made


@pytest.fixture
def siaga(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Siaga:
    def run(*arguments: object) -> Said:
        output = () if "--output" in arguments else ("--output", tmp_path)
        words = ("report", "--directory", tmp_path / "state/evidence", *output, *arguments)
        monkeypatch.setattr(sys, "argv", ["siaga", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    return run


def written(tmp_path: Path) -> dict[str, Path]:
    return {path.suffix: path for path in tmp_path.glob("siaga-report-test-2026-11*")}


def test_html_and_pdf_are_written_with_their_digests_and_the_root_that_the_log_signed(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path
) -> None:
    done = siaga("--month", MONTH, "--json")
    assert done.code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    files = written(tmp_path)
    assert set(files) == {".html", ".pdf"}
    for file in found["files"]:
        assert hashlib.sha256(Path(file["path"]).read_bytes()).hexdigest() == file["sha256"]
    assert files[".pdf"].read_bytes().startswith(b"%PDF-")
    checkpoint = json.loads((evidence.directory / "checkpoints.jsonl").read_text().splitlines()[-1])
    assert found["seal"]["root"] in checkpoint["note"]
    assert found["seal"]["root"] in files[".html"].read_text()
    assert (found["seal"]["verdict"], found["seal"]["size"]) == ("proven", 12)
    assert found["not_recorded"] == "it is made from a copy of the evidence"
    assert [d["name"] for d in found["drills"]] == ["node-loss"]


def test_evidence_that_was_changed_is_told_in_the_report_and_by_the_exit_code(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path
) -> None:
    segment = evidence.directory / "log/000000000000.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b'"over_s":1.2', b'"over_s":0.2'))
    done = siaga("--month", MONTH)
    assert done.code == 1
    assert "does not hold" in done.stdout
    page = written(tmp_path)[".html"].read_text()
    assert "✖ record 0" in page
    assert "diversions, after" not in page


def test_without_pango_the_html_is_there_and_the_exit_code_tells(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "find_pango", lambda: None)
    done = siaga("--month", MONTH)
    assert done.code == 1
    assert set(written(tmp_path)) == {".html"}
    assert "Pango is not installed" in done.stderr
    assert "libpango" in done.stderr


def test_a_month_before_the_first_record_is_refused_and_the_first_one_named(
    siaga: Siaga, evidence: SignedEvidence, tmp_path: Path
) -> None:
    done = siaga("--month", "2026-10")
    assert (done.code, written(tmp_path)) == (2, {})
    assert "before there was a site, expected 2026-11" in done.stderr


def test_a_month_to_come_is_refused(siaga: Siaga, evidence: SignedEvidence) -> None:
    done = siaga("--month", Month.holding(datetime.now(UTC) + timedelta(days=32)))
    assert done.code == 2
    assert "has not begun" in done.stderr


def test_what_is_no_month_is_refused(siaga: Siaga, evidence: SignedEvidence) -> None:
    done = siaga("--month", "2026-13")
    assert done.code == 2
    assert "`--month` is `2026-13`, expected a month such as 2026-11" in done.stderr


def test_a_directory_that_is_not_there_is_refused(siaga: Siaga, evidence: SignedEvidence, tmp_path: Path) -> None:
    done = siaga("--month", MONTH, "--output", tmp_path / "nowhere")
    assert done.code == 2
    assert "expected a directory that exists" in done.stderr


def test_evidence_without_a_record_has_no_month(siaga: Siaga, tmp_path: Path) -> None:
    made = SignedEvidence(tmp_path / "state/evidence")
    made.write([0])
    (tmp_path / "state/keys").mkdir()
    (tmp_path / "state/keys/log.pub").write_text(f"{key(1).public.text}\n")
    (tmp_path / "state/keys/witness.pub").write_text(f"{witness_key().public.text}\n")
    done = siaga("--month", MONTH)
    assert done.code == 2
    assert "there is no record yet" in done.stderr
