"""`siaga journal prepare`, told something that can't be: an exit code and a hint, and nothing was changed."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from journal_servers import MAP, Ledger, Postgres

from siaga.errors import BadInput
from siaga.journal import config as settings

Prepare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    path = tmp_path / "journal.json"
    content = {"directory": str(tmp_path), "map": str(MAP), "conninfo": "host=x", "status": str(tmp_path / "status")}
    path.write_text(json.dumps(content))

    def run(dsn: str, *words: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "siaga.cli.main", "journal", "prepare", "--config", str(path), "--dsn", dsn]
        return subprocess.run([*program, *words], capture_output=True, text=True, check=False, env={**os.environ})

    return run


@pytest.fixture
def unprivileged(shared_postgres: Postgres) -> str:
    """A role that may log in, and nothing else."""
    name = f"visitor_{secrets.token_hex(4)}"
    shared_postgres.query(f"create role {name} login")
    return name


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert "\nhint: " in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_is_prepared_already_is_prepared_again(ledger: Ledger, prepare: Prepare) -> None:
    assert prepare(ledger.conninfo).returncode == 0


def test_a_server_that_does_not_answer_is_unreachable(prepare: Prepare) -> None:
    assert "no connection" in refused(prepare("host=127.0.0.1 port=1 dbname=x"), 5)


def test_a_role_that_is_missing_is_wrong_usage_and_nothing_is_published(ledger: Ledger, prepare: Prepare) -> None:
    ledger.query("drop publication siaga_journal_entries")
    said = refused(prepare(ledger.conninfo, "--role", "nobody_here"), 2)
    assert "--role nobody_here: there is no such role" in said
    assert "create role nobody_here login replication" in said
    assert ledger.query("select from pg_publication where pubname = 'siaga_journal_entries'") == []


def test_a_login_without_the_rights_is_wrong_usage(ledger: Ledger, prepare: Prepare, unprivileged: str) -> None:
    said = refused(prepare(ledger.conninfo.replace(f"user={ledger.postgres.superuser}", f"user={unprivileged}")), 2)
    assert "permission denied" in said or "must be owner" in said


def test_a_map_that_does_not_fit_is_wrong_usage(ledger: Ledger, prepare: Prepare) -> None:
    ledger.query("alter table bank.entries rename column balance_after to balance_then")
    assert "balance_after" in refused(prepare(ledger.conninfo), 2)


@pytest.mark.parametrize("name", ["password", "sslpassword", "oauth_client_secret"])
def test_a_secret_is_refused_in_arguments_and_configuration(tmp_path: Path, prepare: Prepare, name: str) -> None:
    path = tmp_path / "journal.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "conninfo": f"host=x {name}=hush"}))
    said = refused(prepare(f"host=127.0.0.1 {name}=hush"), 2)
    assert f"--dsn holds a {name}" in said
    assert "hush" not in said
    with pytest.raises(BadInput, match=f"`conninfo`: expected connection settings without a {name}") as caught:
        settings.load(path)
    assert "hush" not in str(caught.value)
