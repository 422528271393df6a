"""What every command says of itself, and what a complaint never repeats."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from cyclopts import App

from siaga.cli import main as command_line
from siaga.errors import Exit

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`siaga` with these words: its exit code, and all that it printed."""
    monkeypatch.setenv("COLUMNS", "40")

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["siaga", *words])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


def commands(app: App, *path: str) -> Iterator[tuple[tuple[str, ...], App]]:
    """Every command below `app`, by its words."""
    yield path, app
    for name, command in app.resolved_commands().items():
        if not name.startswith("-"):
            yield from commands(command, *path, name)


def test_every_command_with_examples_shows_them_in_its_help_each_on_one_line(run: Run) -> None:
    with_examples = 0
    for path, command in commands(command_line.app):
        documentation = getattr(command.default_command, "__doc__", None) or ""
        if "Examples\n" not in documentation:
            continue
        with_examples += 1
        code, said = run(*path, "--help")
        examples = [line.strip() for line in documentation.partition("Examples\n")[2].splitlines()[1:] if line.strip()]
        assert code == 0
        assert examples, path
        assert said.splitlines()[-len(examples) - 1 :] == ["Examples:", *(f"  {example}" for example in examples)], path
    assert with_examples > 30


def test_a_group_of_commands_has_no_examples_of_its_own(run: Run) -> None:
    assert "Examples" not in run("ledger")[1]


@pytest.mark.parametrize(
    "words",
    [
        ["ledger", "check", "postgresql://u:HU/S@H@h/db"],
        ["ledger", "check", "--dsn", "host=h", "password=HUSH"],
        ["ledger", "check", "--dsn", "host=h", "password", "=", "HUSH"],
        ["ledger", "check", "--dsn", "host=h", "sslpassword=HUSH"],
        ["ledger", "check", "--dsn", "host=h", "oauth_client_secret=HUSH"],
        ["ledger", "check", "--engine=postgresql://u:HUSH@h/db"],
        ["ledger", "check", "--workers", "PGPASSWORD=HUSH"],
        ["ledger", "check", "--password", "HUSH", "HUSH"],
        ["journal", "prepare", "postgresql://u:HUSH@h/db?sslmode=require"],
        ["drill", "password=HUSH"],
        ["postgresql://u:HUSH@h/db"],
    ],
)
def test_a_complaint_about_words_never_repeats_a_secret(run: Run, words: list[str]) -> None:
    code, said = run(*words)
    assert code == Exit.USAGE
    assert not any(part in said for part in ("HUSH", "HU/S", "S@H"))
    assert "error: " in said
    assert "hint: " in said


def test_what_is_no_secret_stays_in_the_complaint(run: Run) -> None:
    assert "['postgresql://u:***@h/db', 'x=1']" in run("ledger", "check", "postgresql://u:HUSH@h/db", "x=1")[1]
    said = run("ledger", "check", "--dsn", "host=h", "password=HUSH")[1]
    assert "['password=***']" in said
    assert "~/.pgpass" in said
    assert 'Did you mean "check"?' in run("ledger", "chek")[1]
    assert "`siaga ledger check --help`" in run("ledger", "check", "--gentel")[1]


def test_the_command_line_starts_without_the_database_driver() -> None:
    program = "import sys, siaga.cli.main; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
