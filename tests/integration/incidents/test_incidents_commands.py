"""`siaga incidents` over a real socket, to a real service."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from incident_service import Log

from siaga.cli import ask, incidents
from siaga.controller.client import ControllerClient
from siaga.controller.incidents_api import create_router
from siaga.errors import BadInput, Refused, SiagaError
from siaga.incidents.account import Account
from siaga.incidents.files import FileStore
from siaga.incidents.service import IncidentsService
from siaga.site.load import embedded

DEADLINE_S = 20.0


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The commands' controller: nothing of the platform but its incidents."""
    socket = tmp_path / "api.sock"
    server = uvicorn.Server(uvicorn.Config(_api(tmp_path), uds=str(socket), log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + DEADLINE_S
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.02)
    # What the controller logs belongs to its own process, not to the command's answer.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    monkeypatch.setattr(ask, "_client", lambda: ControllerClient([socket]))
    yield
    server.should_exit = True
    thread.join(DEADLINE_S)
    structlog.reset_defaults()


def _ana(_: Request) -> str:
    return "ana"


def _api(directory: Path) -> FastAPI:
    def now() -> datetime:
        return datetime.now(UTC)

    service = IncidentsService(
        FileStore(directory), Log(), [], {}, site="embedded", clock=now, monotonic=time.monotonic
    )

    async def records(_: datetime) -> Sequence[Mapping[str, Any]]:
        return []

    async def secret(name: str) -> str:
        raise FileNotFoundError(name)

    api = FastAPI()

    @api.exception_handler(SiagaError)
    async def complaint(_: Request, error: SiagaError) -> JSONResponse:
        content = {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}
        return JSONResponse(content, 409)

    account = Account(service, records, embedded(), now)
    api.include_router(create_router(service, account, _ana, routes=[], secret=secret))
    return api


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str) -> tuple[int, str]:
        code = incidents.app([*words], exit_on_error=False, result_action="return_value")
        return int(code or 0), capsys.readouterr().out

    return run


@pytest.mark.usefixtures("controller")
def test_an_incident_from_its_declaration_to_its_report(said: Any, tmp_path: Path) -> None:
    assert said("list") == (0, "no incident yet\n")
    code, out = said("declare", "--level", "3", "--reason", "users report a wrong balance", "--json")
    declared = json.loads(out)
    assert (code, declared["label"]) == (0, "Level 3 · Critical")
    id_ = declared["id"]

    code, out = said("list")
    assert code == 1
    assert "no route is configured: nobody was told" in out
    assert said("acknowledge", id_) == (0, f"{id_} is looked after by ana\n")
    code, out = said("show", id_)
    assert (code, "users report a wrong balance" in out) == (1, True)
    assert said("downgrade", id_, "--to", "2", "--reason", "one account") == (0, f"{id_} is Level 2 · Major now\n")
    assert said("resolve", id_, "--reason", "explained")[0] == 0
    assert said("show", id_)[0] == 0

    path = tmp_path / "report.html"
    assert said("report", id_, "--form", "html", "--out", str(path))[0] == 0
    assert "Level 3 · Critical" in path.read_text()
    with pytest.raises(BadInput, match="File exists"):
        said("report", id_, "--out", str(path))
    with pytest.raises(BadInput, match="nobody outside has to be told"):
        said("report", id_, "--regulator")


@pytest.mark.usefixtures("controller")
def test_a_dry_run_declares_nothing(said: Any) -> None:
    assert said("declare", "--level", "1", "--reason", "x", "--dry-run") == (0, "would declare Level 1 · Minor\n")
    assert said("list") == (0, "no incident yet\n")


@pytest.mark.usefixtures("controller")
def test_refusals_come_as_they_were_worded(said: Any) -> None:
    with pytest.raises(BadInput, match="there is no incident `inc-0`"):
        said("acknowledge", "inc-0")
    id_ = json.loads(said("declare", "--level", "1", "--reason", "x", "--json")[1])["id"]
    with pytest.raises(Refused, match="is not lower"):
        said("downgrade", id_, "--to", "3", "--reason", "x")
