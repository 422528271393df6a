"""`siaga ledger` told something that can't be: it says so at once, reads nothing, and repeats no secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from books import Books

MAP = """
[accounts]
table = "account"
id = "id"
balance = "balance"
[entries]
table = "entry"
account = "account"
amount = "amount"
id = "id"
transaction = "transfer"
"""
Check = Callable[..., subprocess.CompletedProcess[str]]


def siaga(*words: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell runs it."""
    program = [sys.executable, "-m", "siaga.cli.main", "ledger", *words]
    return subprocess.run(program, capture_output=True, text=True, check=False, env={**os.environ})


@pytest.fixture
def ledger_map(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.toml"
    path.write_text(MAP)
    return path


@pytest.fixture
def check(books: Books, ledger_map: Path) -> Check:
    """`siaga ledger check` on the books."""
    return lambda *words: siaga("check", "--dsn", books.dsn, "--map", str(ledger_map), *words)


NOWHERE = "host=127.0.0.1 port=1 dbname=x"
"""Nobody answers there: who complains of something else has not asked yet."""


@pytest.mark.parametrize("option", ["--seal", "--work", "--export"])
def test_a_target_that_cannot_be_written_is_refused_before_anything_is_read(
    ledger_map: Path, tmp_path: Path, option: str
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    key = tmp_path / "key"
    for target in (file, file / "below", Path("/proc/siaga")):
        done = siaga("check", "--dsn", NOWHERE, "--map", str(ledger_map), "--key", str(key), option, str(target))
        assert (done.returncode, done.stdout) == (2, "")
        assert f"error: {option} {target}: " in done.stderr
        assert "expected a directory that can be written to\nhint: " in done.stderr
    assert not key.exists()


def test_a_seal_without_a_key_is_refused_and_leaves_nothing_behind(check: Check, tmp_path: Path) -> None:
    done = check("--seal", str(tmp_path / "seal"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--seal: no key" in done.stderr
    assert not (tmp_path / "seal").exists()


def test_a_journal_that_is_no_directory_is_refused(check: Check, tmp_path: Path) -> None:
    done = check("--journal", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: --journal {tmp_path / 'nowhere'}: no directory" in done.stderr


def test_a_key_that_cannot_be_made_is_refused_before_anything_is_read(ledger_map: Path, tmp_path: Path) -> None:
    words = ["--key", str(tmp_path / "no" / "key"), "--seal", str(tmp_path / "seal")]
    done = siaga("check", "--dsn", NOWHERE, "--map", str(ledger_map), *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {tmp_path / 'no' / 'key'}: No such file or directory, expected a place" in done.stderr
    assert "\nhint: " in done.stderr


@pytest.mark.parametrize("content", ["[1]", '"x"', "7", '{"hmac": "\u00e9"}', "[" * 100_000])
def test_a_seal_that_is_none_is_refused(check: Check, tmp_path: Path, content: str) -> None:
    (tmp_path / "seal").mkdir()
    (tmp_path / "seal" / "seal.json").write_text(content)
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("ab" * 32)
    done = check("--key", str(key), "--since", str(tmp_path / "seal"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr
    assert "\nhint: make a new seal" in done.stderr


def test_rereading_what_no_seal_names_is_refused(check: Check) -> None:
    done = check("--reread")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: --reread: found without --since" in done.stderr


def test_statements_are_one_document_where_json_is_asked_for(check: Check, tmp_path: Path) -> None:
    done = check("--print-sql", "--json", "--export", str(tmp_path / "audit"))
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert list(document) == ["statements"]
    assert any('from "public"."entry"' in statement for statement in document["statements"])
    assert not (tmp_path / "audit").exists(), "what reads nothing makes nothing"


@pytest.mark.parametrize(
    "words",
    [
        ["release", "--from", "nowhere"],
        ["release"],
        ["fence"],
        ["accounts", "4711"],
        ["check"],
        ["map"],
        ["gate", "--map", "nowhere"],
    ],
)
@pytest.mark.parametrize("dsn", ["postgresql://u:hush@h/d", "host=h sslpassword=hush"])
def test_a_secret_in_the_arguments_is_refused_before_anything_else_is_looked_at(words: list[str], dsn: str) -> None:
    done = siaga(*words, "--dsn", dsn)
    assert done.returncode == 2
    assert "--dsn holds a " in done.stderr
    assert "hush" not in done.stderr


def test_an_error_of_the_database_that_nothing_expects_is_undetermined_and_never_a_verdict(books: Books) -> None:
    # The server counts from the log-in on: long enough for that, and what is asked then waits for a lock.
    with psycopg.connect(books.dsn) as holding:
        holding.execute("lock table entry")
        done = siaga("map", "--dsn", f"{books.dsn} options='-c transaction_timeout=1000'")
    assert (done.returncode, done.stdout) == (3, "")
    first, second = done.stderr.splitlines()[:2]
    assert first == "error: the database ended what it was asked: terminating connection due to transaction timeout"
    assert second.startswith("hint: ")
