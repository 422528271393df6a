"""Lost transactions go back through the application's own path, each with its key, and only those that may."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from journal_servers import Journal, Ledger
from wallet_servers import wait_until

from siaga.cli.journal import app
from siaga.errors import BadInput, Unreachable
from siaga.journal.lsn import show

pytestmark = pytest.mark.clause("DRP-3.2b")


@pytest.fixture
def restored(journal: Journal, ledger: Ledger) -> tuple[Journal, Ledger, str]:
    """A ledger that lost three transactions, as a restore would leave it; the position it was taken back to."""
    ledger.move(1, 2, amount=100, key="kept")
    journal.catch_up()
    position = journal.contents().standing.position
    assert position is not None
    ledger.move(3, 4, amount=10, key="paid")
    ledger.move(5, 6, amount=20, kind="deposit", key="deposited")
    ledger.move(7, 8, amount=30, kind="odd", key="odd")
    journal.catch_up()
    wait_until(lambda: journal.contents().standing.acknowledged > position.at, "the quorum is noted")
    journal.stop()
    ledger.query(
        "truncate bank.entries, bank.transfers; update bank.accounts set balance = 0, version = 0; "
        "select bank.move('kept', 'transfer', 1, 2, 100)"
    )
    return journal, ledger, show(position.at)


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    code = app([*arguments, "--json"], exit_on_error=False, result_action="return_value")
    return int(code), json.loads(capsys.readouterr().out)


def _target(ledger: Ledger, directory: Path, **sql: object) -> str:
    path = directory / "replay.json"
    statement = "select bank.move(%(key)s, %(kind)s, %(debit)s, %(credit)s, %(amount)s)"
    content = {"statement": statement, "conninfo": ledger.conninfo, "accepted": ["done", "replayed"]} | sql
    path.write_text(json.dumps({"sql": content}))
    return str(path)


def test_only_what_was_acknowledged_and_moved_balances_alone_goes_back_by_itself(
    restored: tuple[Journal, Ledger, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal, ledger, position = restored
    common = ["--beyond", position, "--config", str(journal.home / "config.json")]
    code, listed = _run(capsys, "lost", *common)
    assert code == 1
    found = {each["key"]: each for each in listed["lost"]}  # type: ignore[attr-defined]
    assert list(found) == ["paid", "deposited", "odd"]
    assert [e["acknowledged"] for e in found.values()] == [True, True, True]
    assert [e["replay"] for e in found.values()] == ["ledger-only", "with-effects", "manual"]
    assert [entry["account"] for entry in found["paid"]["entries"]] == ["3", "4"]
    target = _target(ledger, tmp_path)
    code, planned = _run(capsys, "replay", *common, "--target", target, "--dry-run")
    assert [e["step"] for e in planned["would_do"]] == ["replay", "leave", "leave"]  # type: ignore[attr-defined]
    assert ledger.query("select count(*) from bank.transfers") == [(1,)]
    code, done = _run(capsys, "replay", *common, "--target", target)
    assert code == 0
    assert [(e["key"], e["said"]) for e in done["replayed"]] == [("paid", "done")]  # type: ignore[attr-defined]
    assert ledger.query("select balance from bank.accounts where id in (3, 4) order by id") == [(-10,), (10,)]
    # Once more, and one that a person named: nothing is done twice.
    code, done = _run(capsys, "replay", *common, "--target", target, "--key", "odd")
    assert [(e["key"], e["said"]) for e in done["replayed"]] == [("paid", "replayed"), ("odd", "done")]  # type: ignore[attr-defined]
    assert ledger.query("select key from bank.transfers order by id") == [("kept",), ("paid",), ("odd",)]


def test_an_application_that_refuses_or_falls_silent_is_told_apart(
    restored: tuple[Journal, Ledger, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal, ledger, position = restored
    common = ["--beyond", position, "--config", str(journal.home / "config.json")]
    refusing = _target(ledger, tmp_path, statement="select 'refused'")
    code, done = _run(capsys, "replay", *common, "--target", refusing)
    assert code == 1
    assert [e["done"] for e in done["replayed"]] == [False]  # type: ignore[attr-defined]
    silent = _target(ledger, tmp_path, conninfo="host=127.0.0.1 port=1 dbname=nowhere")
    with pytest.raises(Unreachable):
        _run(capsys, "replay", *common, "--target", silent)
    with pytest.raises(BadInput, match="no lost transaction has the key"):
        _run(capsys, "replay", *common, "--target", refusing, "--key", "unheard-of")
    secret = _target(ledger, tmp_path, conninfo="host=127.0.0.1 password=x")
    with pytest.raises(BadInput, match="without a password"):
        _run(capsys, "replay", *common, "--target", secret)
    missing = _target(ledger, tmp_path, statement="select %(nonsense)s")
    with pytest.raises(BadInput, match="nonsense"):
        _run(capsys, "replay", *common, "--target", missing)


@pytest.fixture
def bank_over_http(restored: tuple[Journal, Ledger, str], tmp_path: Path) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The application's own endpoint before the ledger: idempotent by its key; what it was asked, headers and all."""
    _, ledger, _ = restored
    asked: list[dict[str, str]] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"key": self.headers["Idempotency-Key"], "authorization": self.headers["Authorization"]})
            parameters = (asked[-1]["key"], body["kind"], body["from"], body["to"], body["amount"])
            ((said,),) = ledger.query("select bank.move(%s, %s, %s, %s, %s)", *parameters)
            status = {"/moves": 201, "/refuses": 422, "/fails": 503}[self.path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join(10)


def _endpoint(url: str, directory: Path) -> str:
    path, secret = directory / "http.json", directory / "authorization"
    secret.write_text("Bearer hush\n")
    body = {"kind": "kind", "from": "debit", "to": "credit", "amount": "amount"}
    path.write_text(json.dumps({"http": {"url": url, "body": body, "authorization_file": str(secret)}}))
    return str(path)


def test_lost_transactions_go_back_through_an_http_endpoint_each_with_its_key(
    restored: tuple[Journal, Ledger, str],
    bank_over_http: tuple[str, list[dict[str, str]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal, ledger, position = restored
    url, asked = bank_over_http
    common = ["--beyond", position, "--config", str(journal.home / "config.json")]
    # No answer that says anything: it may have been done, and the same key is asked for once more.
    with pytest.raises(Unreachable, match="503"):
        _run(capsys, "replay", *common, "--target", _endpoint(f"{url}/fails", tmp_path))
    code, done = _run(capsys, "replay", *common, "--target", _endpoint(f"{url}/moves", tmp_path))
    assert code == 0
    assert [(e["key"], e["said"]) for e in done["replayed"]] == [("paid", "201 replayed")]  # type: ignore[attr-defined]
    assert asked == [{"key": "paid", "authorization": "Bearer hush"}] * 2
    assert ledger.query("select balance from bank.accounts where id in (3, 4) order by id") == [(-10,), (10,)]
    code, done = _run(capsys, "replay", *common, "--target", _endpoint(f"{url}/refuses", tmp_path))
    assert code == 1
    assert [e["done"] for e in done["replayed"]] == [False]  # type: ignore[attr-defined]


def test_show_and_verify_say_how_it_stands(
    journal: Journal, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.move(1, 2)
    journal.catch_up()
    config = ["--config", str(journal.home / "config.json")]
    code, shown = _run(capsys, "show", *config)
    assert code == 0
    assert (shown["state"], shown["transactions"], shown["entries"]) == ("streaming", 1, 2)
    code, verified = _run(capsys, "verify", *config)
    assert (code, verified["holds"]) == (0, True)
    code, compared = _run(capsys, "compare", *config)
    assert (code, compared["matches"], compared["accounts"]) == (0, True, 2)
    with pytest.raises(BadInput, match="--dsn holds a password"):
        _run(capsys, "compare", *config, "--dsn", "host=127.0.0.1 password=secret")
