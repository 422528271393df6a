"""`siaga runs` and `/v1/runs`: with a controller that answers, and from the journal when none does."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pwd
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from runbooks.engine_rig import Rig, begin, failing, runbook, until

from siaga.cli import runs
from siaga.cli.main import main
from siaga.controller import runs_api
from siaga.controller.peers import Door, PeerAwareProtocol
from siaga.errors import SiagaError
from siaga.platform import account, layout
from siaga.platform.account import Home
from siaga.runbooks.engine import Engine
from siaga.runbooks.journal import FILE_NAME, SqliteFile
from siaga.runbooks.model import Approval, Clock, Runbook
from siaga.site.load import embedded

pytestmark = [pytest.mark.clause("SUM"), pytest.mark.filterwarnings("ignore:Cyclopts application invoked")]


@dataclass(frozen=True)
class Here:
    """A platform of which only the layout and the journal exist."""

    place: Home
    bench: Rig

    async def siaga(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; its exit code, stdout and stderr. In a thread: a process each would take minutes here."""
        return await asyncio.wait_for(asyncio.to_thread(_command, arguments), 60)

    async def document(self, *arguments: str, code: int = 0) -> Any:
        found, out, err = await self.siaga(*arguments, "--json")
        assert found == code, out + err
        return json.loads(out)

    @asynccontextmanager
    async def controller(self, *runbooks: Runbook) -> AsyncIterator[Engine]:
        """An engine, and its part of the API on the controller's socket."""
        socket = self.place.controller_socket("controller")
        socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with self.bench.engine(*runbooks) as engine:
            config = uvicorn.Config(
                api(engine), uds=str(socket), http=PeerAwareProtocol, log_config=None, access_log=False
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                yield engine
            finally:
                server.should_exit = True
                await serving
                socket.unlink(missing_ok=True)


def _command(arguments: tuple[str, ...]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    # Each is a command of its own.
    runs._tell.cache_clear()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["siaga", "runs", *arguments])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("a command ends with an exit code")


def api(engine: Engine) -> FastAPI:
    found = FastAPI()
    found.include_router(runs_api.create_router(engine, Door("a-token").actor))

    @found.exception_handler(SiagaError)
    async def complaint(_: Request, error: SiagaError) -> JSONResponse:
        content = {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}
        return JSONResponse(content, 409)

    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setenv("SIAGA_HOME", str(tmp_path / "home"))
    place = account.home()
    place.state.mkdir()
    site = embedded()
    ports = {key: 20_000 + number for number, key in enumerate(layout.listeners(site))}
    layout.save(layout.resolve(place, site, ports))
    journal = place.state / "controller" / FILE_NAME
    return Here(place, Rig(SqliteFile(journal)))


def approved(bench: Rig) -> Runbook:
    return runbook(
        bench.step("one"),
        Approval("agree", 600.0, wants_ticket=True),
        bench.step("two"),
        clocks=(Clock("P1", 1800.0, "two"),),
        fields={"node": "which one"},
    )


async def test_without_a_controller_the_journal_answers_and_takes_words(here: Here) -> None:
    book = approved(here.bench)
    async with here.bench.engine(book) as engine:
        run = await begin(engine, run="tested/2026-11-25")
        await until(engine, run, "waiting for approval")
    listed = await here.document("list")
    assert [(line["id"], line["state"], line["step"]) for line in listed["runs"]] == [
        (run, "waiting for approval", "agree")
    ]
    page = await here.document("show", run, code=3)
    assert page["approval"]["step"] == "agree"
    assert 0 < page["clocks"][0]["left_s"] < 1800
    code, out, err = await here.siaga("show", run)
    assert code == 3
    assert f"siaga runs approve {run} --ticket ID" in out
    assert "this is from the journal" in err
    code, _, err = await here.siaga("approve", run)
    assert (code, "wants a change ticket" in err) == (4, True)
    said = await here.document("approve", run, "--ticket", "CHG-1")
    assert (said["step"], said["still_wanted"]) == ("agree", 0)
    code, _, err = await here.siaga("approve", run, "--ticket", "CHG-1")
    assert (code, "said before" in err) == (4, True)
    code, _, err = await here.siaga("show", "tested/2026-11-24")
    assert (code, run in err) == (2, True)
    assert (await here.siaga("start", "tested"))[0] == 5, "nothing begins without a controller"
    async with here.bench.engine(book) as engine:
        page = await until(engine, run, "done")
    actor = page["steps"][1]["approved_by"][0]["actor"]
    assert actor == pwd.getpwuid(os.geteuid()).pw_name
    assert (await here.siaga("watch", run))[0] == 0


async def test_no_journal_and_no_controller_is_unreachable(here: Here) -> None:
    code, out, err = await here.siaga("list", "--json")
    assert (code, out) == (5, "")
    assert "siaga up" in err


async def test_a_run_is_planned_started_watched_and_approved_by_commands(here: Here) -> None:
    async with here.controller(approved(here.bench)):
        plan = await here.document("plan", "tested", "node=sgp-1")
        assert [step["name"] for step in plan["steps"]] == ["one", "agree", "two"]
        assert plan["parameters"] == {"node": "sgp-1"}
        tried = await here.document("start", "tested", "--dry-run")
        assert tried["state"] == "done"
        assert here.bench.did == []
        run = (await here.document("start", "tested", "node=sgp-1", "--reason", "a test"))["run"]
        code, _, err = await here.siaga("watch", run)
        assert code == 3, "nobody sits here to answer"
        assert "waiting for approval" in err
        assert (await here.siaga("approve", run, "--ticket", "CHG-1"))[0] == 0
        watched = await here.document("watch", run)
        assert watched["state"] == "done"
        assert (await here.siaga("show", run))[0] == 0
        code, _, err = await here.siaga("cancel", run, "--reason", "late")
        assert (code, "has ended (done)" in err) == (4, True)
        assert (await here.siaga("plan", "teste"))[0] == 2
        assert (await here.siaga("start", "tested", "nod=1"))[0] == 2
        assert (await here.siaga("start", "tested", "node"))[0] == 2


async def test_a_person_decides_by_command(here: Here) -> None:
    book = runbook(here.bench.step("one", point_of_no_return=True), failing("two"), name="stuck")
    async with here.controller(book) as engine:
        run = await begin(engine, "stuck")
        await until(engine, run, "waiting for a person")
        code, out, _ = await here.siaga("show", run)
        assert (code, "retry|go-on|undo|give-up" in out) == (3, True)
        assert (await here.siaga("decide", run, "explode", "--reason", "x"))[0] == 2
        assert (await here.siaga("decide", run, "undo", "--reason", "wrong day"))[0] == 0
        page = await until(engine, run, "undone")
        assert "wrong day" in page["why"]
        assert (await here.siaga("show", run))[0] == 1


async def test_the_api_wants_a_login_and_names_what_is_wrong(here: Here) -> None:
    async with here.bench.engine(approved(here.bench)) as engine:
        transport = httpx2.ASGITransport(app=api(engine))
        async with httpx2.AsyncClient(transport=transport, base_url="http://controller") as client:
            assert (await client.get("/v1/runs")).status_code == 401
            client.headers["authorization"] = "Bearer a-token"
            assert (await client.get("/v1/runbooks")).json()["runbooks"][0]["runbook"] == "tested"
            started = {"runbook": "tested", "reason": "x", "id": "tested/1", "onset": "2026-11-22T03:00:00+07:00"}
            assert (await client.post("/v1/runs", json=started)).json() == {"run": "tested/1", "first": True}
            assert (await client.post("/v1/runs", json=started)).json()["first"] is False
            await until(engine, "tested/1", "waiting for approval")
            page = (await client.get("/v1/runs/tested/1")).json()
            assert (page["requester"], page["onset"][:19]) == ("token", "2026-11-21T20:00:00")
            assert (await client.post("/v1/runs", json={**started, "surprise": 1})).status_code == 422
            assert (await client.post("/v1/runs", json={**started, "onset": "2026-11-22T03:00:00"})).status_code == 422
            refused = await client.post("/v1/runs/tested/1/decide", json={"choice": "retry", "reason": "x"})
            assert refused.json()["exit_code"] == 4
            approved_by = await client.post("/v1/runs/tested/1/approve", json={"ticket": "CHG-1"})
            assert approved_by.json()["actor"] == "token"
            await until(engine, "tested/1", "done")
