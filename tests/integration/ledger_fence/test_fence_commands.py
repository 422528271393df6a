"""`siaga ledger fence`, `release`, `accounts` and `gate`, as a shell calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from fence_server import MAP, Cluster, Ledger

from siaga.cli import ledger_fence
from siaga.errors import BadInput, Exit, Refused
from siaga.ledger.gate_install import GATE

Siaga = Callable[..., tuple[int, Any]]


@pytest.fixture
def siaga(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> Siaga:
    """Runs a command with `--json`; exit code and document."""
    app = App(name="ledger")
    for command in (ledger_fence.fence, ledger_fence.release, ledger_fence.accounts):
        app.command(command)

    def run(*words: str) -> tuple[int, Any]:
        tokens = [*words, "--dsn", ledger.conninfo(GATE), "--json"]
        code = app(tokens, exit_on_error=False, result_action="return_value")
        return code, json.loads(capsys.readouterr().out)

    return run


def bad(account: str) -> dict[str, Any]:
    """A mismatch of the report."""
    return {"account": account, "difference": "5", "failed_checks": ["balance"], "entries": [{"sequence": 4}]}


@pytest.mark.clause("DRP-3.2b")
def test_from_closing_to_the_last_account(siaga: Siaga, ledger: Ledger, tmp_path: Path) -> None:
    for _ in range(4):
        ledger.move("acc-1", "acc-2")
        ledger.move("acc-3", "acc-4")
    code, would = siaga("fence", "--reason", "a drill", "--dry-run")
    assert (code, would["generation"], would["standing"]["is_open"]) == (Exit.DONE, 2, True)
    code, done = siaga("fence", "--reason", "a drill")
    assert (code, done["generation"], done["settled"], done["share_of_movements_possible"]) == (0, 2, True, 0)
    assert ledger.move() == "acc-1"
    report = tmp_path / "report.json"
    report.write_text(json.dumps(ledger.document(verdict="mismatch", mismatched=[bad("acc-1")])))
    code, would = siaga("release", "--from", str(report), "--dry-run")
    assert (code, would["dry_run"], ledger.move("acc-3", "acc-4")) == (Exit.DOES_NOT_HOLD, True, "acc-3")
    code, done = siaga("release", "--from", str(report))
    assert (code, done["share_of_movements_possible"]) == (Exit.DOES_NOT_HOLD, 0.5)
    assert done["closed"] == [
        {"account": "acc-1", "why": "mismatch: balance, off by 5", "entries": [{"sequence": 4}], "is_taint": False}
    ]
    assert ledger.move("acc-3", "acc-4") is None
    code, shown = siaga("accounts", "acc-1")
    assert (code, shown["is_open"], shown["entries"]) == (Exit.DOES_NOT_HOLD, False, [{"sequence": 4}])
    assert siaga("accounts", "acc-3")[0] == Exit.DONE
    code, shown = siaga("accounts")
    assert (code, [row["account"] for row in shown["closed"]]) == (Exit.DOES_NOT_HOLD, ["acc-1"])
    with pytest.raises(Refused, match="account acc-1 is not verified"):
        siaga("release", "--account", "acc-1")
    report.write_text(json.dumps(ledger.document()))
    code, _ = siaga("release", "--from", str(report), "--account", "acc-1")
    assert (code, ledger.move("acc-1", "acc-2")) == (Exit.DONE, None)
    assert siaga("accounts")[0] == Exit.DONE


def test_an_override_needs_an_account_and_no_report(siaga: Siaga, ledger: Ledger, tmp_path: Path) -> None:
    siaga("fence", "--reason", "a drill")
    with pytest.raises(BadInput, match="--override"):
        siaga("release", "--override", "because")
    with pytest.raises(Refused, match="no verdict of this generation"):
        siaga("release", "--account", "acc-1")
    code, done = siaga("release", "--account", "acc-1", "--override", "seen with bob")
    assert (code, done["override"], done["opened"]) == (Exit.DONE, "seen with bob", ["acc-1"])
    assert ledger.move("acc-1", "acc-2") == "acc-2"


def test_a_fence_that_is_not_settled_says_who_holds_it_up(siaga: Siaga, ledger: Ledger) -> None:
    gid = f"order-{ledger.name}"
    ledger.query(f"begin; select shop.move('acc-1', 'acc-2', 5, 'p'); prepare transaction '{gid}'", role="shop_app")
    try:
        code, done = siaga("fence", "--reason", "a drill", "--deadline", "0.1")
        assert (code, done["settled"], done["in_flight"]) == (
            Exit.UNDETERMINED,
            False,
            [f"prepared transaction '{gid}'"],
        )
    finally:
        ledger.query(f"rollback prepared '{gid}'")
    code, done = siaga("fence", "--settle")
    assert (code, done["generation"], done["settled"]) == (Exit.DONE, 2, True)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "no such file"), ("{", "no JSON document"), ("{}", "verdict"), ("\xff", "verdict|JSON")]
)
def test_a_report_that_is_none_is_bad_input(siaga: Siaga, tmp_path: Path, content: str | None, why: str) -> None:
    report = tmp_path / "report.json"
    if content is not None:
        report.write_text(content, encoding="latin-1")
    with pytest.raises(BadInput, match=f"(?i){why}"):
        siaga("release", "--from", str(report))


def test_wrong_usage_changes_nothing_and_says_what_was_expected(siaga: Siaga, ledger: Ledger) -> None:
    before = ledger.query("select * from siaga.gate")
    for words in (("fence",), ("fence", "--settle", "--reason", "x"), ("release",)):
        with pytest.raises(BadInput, match="found|expected"):
            siaga(*words)
    with pytest.raises(BadInput, match="found nobody"):
        siaga("accounts", "nobody")
    for dsn in ("host=127.0.0.1 password=s3cret", "postgresql://me:s3cret@127.0.0.1/shop"):
        with pytest.raises(BadInput, match="password") as refused:
            ledger_fence.accounts(dsn=dsn)
        assert "s3cret" not in str(refused.value)
    assert ledger.query("select * from siaga.gate") == before


def test_the_gate_is_installed_from_a_map_in_a_file(cluster: Cluster, tmp_path: Path) -> None:
    ledger = cluster.ledger()
    ledger.query("drop schema siaga cascade")
    map_file = tmp_path / "ledger.toml"
    map_file.write_text(
        '[accounts]\ntable = "shop.accounts"\nid = "id"\nbalance = "balance"\n'
        '[entries]\ntable = "shop.entries"\naccount = "account"\namount = "amount"\ntransaction = "movement"\n'
    )
    assert ledger_fence.install_gate(map=map_file, dsn=ledger.admin, closed=True) == Exit.DONE
    assert ledger.query("select is_open from siaga.gate") == [(False,)]
    assert ledger.query("select map -> 'entries' ->> 'table' from siaga.gate_ledger") == [(MAP.entries.table,)]
    assert ledger_fence.accounts(dsn=ledger.conninfo(GATE), json=True) == Exit.DOES_NOT_HOLD


def test_people_are_told_in_words(ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dsn = ledger.conninfo(GATE)
    ledger.move("acc-1", "acc-2")
    ledger_fence.fence(reason="a drill", dsn=dsn)
    report = tmp_path / "report.json"
    report.write_text(json.dumps(ledger.document(verdict="mismatch", mismatched=[bad("acc-1")])))
    ledger_fence.release(report=report, dsn=dsn)
    ledger_fence.accounts("acc-1", dsn=dsn)
    ledger_fence.accounts(dsn=dsn)
    told = capsys.readouterr()
    assert "generation 2: every account is closed" in told.err
    for words in (
        "settled",
        "9 of 10 accounts verified",
        "share of movements possible: 0.0 % of the last 1",
        "acc-1: closed (generation 2), mismatch: balance, off by 5",
        '{"sequence": 4}',
        "generation 2: open; 1 accounts closed by a verdict",
    ):
        assert words in told.out
