"""`siaga ledger check` and `siaga ledger map`, as a person or a script has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from books import Books

MAP = """
[accounts]
table = "account"
id = "id"
balance = "balance"
version = "version"
[entries]
table = "entry"
account = "account"
amount = "amount"
id = "id"
transaction = "transfer"
sequence = "sequence"
balance_after = "after"
"""


@dataclass(frozen=True)
class Command:
    """`siaga ledger` on some books."""

    books: Books
    map_path: Path

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "siaga.cli.main", "ledger", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self("check", "--dsn", self.books.dsn, "--map", str(self.map_path), *arguments)


@pytest.fixture
def command(books: Books, tmp_path: Path) -> Command:
    path = tmp_path / "ledger.toml"
    path.write_text(MAP)
    return Command(books, path)


def document(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_the_document_has_the_fields_that_others_rely_on(command: Command) -> None:
    done = command.check("--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = document(done)
    assert {
        "verdict", "scope", "grade", "accounts", "entries", "verified", "mismatched", "tainted", "checks", "lsn",
        "snapshot", "seconds", "listed", "map_digest", "source", "verdicts_digest", "system_accounts",
    } <= found.keys()  # fmt: skip
    assert found["verdict"] == "verified"
    assert {check["state"] for check in found["checks"]} <= {"run", "not run", "not applicable"}
    assert all({"name", "state", "rows", "why"} <= check.keys() for check in found["checks"])


def test_a_mismatch_has_its_own_exit_code_and_names_entry_and_both_values(command: Command) -> None:
    command.books.run("update entry set amount = amount + 3 where id = 33")
    done = command.check("--json")
    assert done.returncode == 1
    found = document(done)["mismatched"][0]
    assert found["difference"] == "-3"
    assert isinstance(found["balance"], str), "money is never a JSON number"
    assert found["entries"][0]["fault"] == "altered"
    assert found["entries"][0]["found"] != found["entries"][0]["expected"]
    spoken = command.check()
    assert spoken.returncode == 1
    assert "altered" in spoken.stdout
    assert "tainted" in spoken.stdout


def test_what_was_not_read_has_its_own_exit_code(command: Command) -> None:
    assert command.check("--sums", "--json").returncode == 3


@pytest.mark.parametrize("dsn", ["host=h password=hush", "postgresql://u:hush@h/d"])
def test_a_password_in_the_arguments_is_refused(command: Command, dsn: str) -> None:
    for done in (command("check", "--dsn", dsn, "--map", str(command.map_path)), command("map", "--dsn", dsn)):
        assert done.returncode == 2
        assert "hush" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--workers", "0"],
        ["--engine", "oracle"],
        ["--since", "nowhere"],
        ["--key", "nowhere", "--since", "nowhere"],
        ["--gentel"],
    ],
)
def test_wrong_usage_says_so_and_reads_nothing(command: Command, arguments: list[str]) -> None:
    done = command.check(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""


def test_a_map_without_a_dsn_is_refused(command: Command) -> None:
    done = command("check", "--map", str(command.map_path))
    assert done.returncode == 2
    assert "--dsn" in done.stderr


def test_nobody_there_is_unreachable(command: Command) -> None:
    done = command("check", "--dsn", "host=127.0.0.1 port=1 dbname=x", "--map", str(command.map_path))
    assert done.returncode == 5


def test_every_statement_can_be_seen_before_anything_runs(command: Command) -> None:
    done = command.check("--print-sql")
    assert done.returncode == 0
    assert 'from "public"."entry"' in done.stdout
    assert "pg_export_snapshot" in done.stdout


def test_an_auditor_gets_report_verdicts_and_sql_that_say_the_same(command: Command, tmp_path: Path) -> None:
    command.books.run("update account set balance = balance + 3 where id = 4")
    directory = tmp_path / "audit"
    assert command.check("--export", str(directory)).returncode == 1
    lines = (directory / "verdicts.csv").read_text().splitlines()
    assert len(lines) == 21
    assert [line for line in lines if line.endswith("mismatch")] == [line for line in lines if line.startswith("4,")]
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=directory, capture_output=True, check=False)
    assert done.returncode == 0
    found = []
    with psycopg.connect(command.books.dsn, autocommit=True) as connection:
        cursor = connection.execute((directory / "check.sql").read_text())
        while True:
            if cursor.description is not None:
                found.append(cursor.fetchall())
            if not cursor.nextset():
                break
    # The snapshot, then one list a check: only balances disagree.
    assert [len(rows) for rows in found[1:]] == [1, 0, 0, 0, 0]
    assert (directory / "verdicts.csv").stat().st_mode & 0o777 == 0o600
    assert found[1][0][0] == 4


def test_a_map_is_proposed_that_the_check_then_takes(command: Command, tmp_path: Path) -> None:
    command.books.run("alter table entry rename after to balance_after")
    done = command("map", "--dsn", command.books.dsn)
    assert done.returncode == 0
    command.map_path.write_text(done.stdout)
    assert command.check().returncode == 0
    command.books.run("drop table entry")
    assert command("map", "--dsn", command.books.dsn).returncode == 3


def test_help_names_every_option(command: Command) -> None:
    shown = command("check", "--help").stdout
    for option in ("--dsn", "--map", "--gentle", "--deep", "--since", "--seal", "--export", "--print-sql", "--json"):
        assert option in shown
