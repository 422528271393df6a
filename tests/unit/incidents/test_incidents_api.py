"""The routes of the API over the service, asked as HTTP asks them."""

import hashlib
import hmac
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from siaga.controller.incidents_api import create_router
from siaga.errors import SiagaError
from siaga.evidence.model import Record
from siaga.incidents.account import Account
from siaga.incidents.files import FileStore
from siaga.incidents.model import Fact, FactKind
from siaga.incidents.service import IncidentsService
from siaga.site.load import embedded
from siaga.site.model import Site
from siaga.site.notifications import NotificationRoute, Regulator, RouteKind

NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
ROUTE = NotificationRoute(name="on-call", kind=RouteKind.PAGERDUTY, secret="key", webhook_secret="hook")


class Log:
    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    async def append(self, record: Record) -> int:
        number = len(self.records) + 1
        shown = {"kind": record.kind, "actor": record.actor, "reason": record.reason, "figures": dict(record.figures)}
        self.records.append({**shown, "number": number, "time": NOW.isoformat()})
        return number

    async def append_exempt(self, record: Record) -> None:
        await self.append(record)


class Api:
    def __init__(self, directory: Path) -> None:
        self.log = Log()
        seconds = itertools.count()
        self.incidents = IncidentsService(
            FileStore(directory),
            self.log,
            # Nobody is at the other end: what is asked here is the API.
            [ROUTE],
            {},
            site="embedded",
            clock=lambda: NOW + timedelta(milliseconds=next(seconds)),
            monotonic=lambda: next(seconds) / 1000,
        )
        site = Site.model_validate({**embedded().model_dump(), "regulator": Regulator(name="OJK", hours=24)})
        account = Account(self.incidents, self._since, site, lambda: NOW + timedelta(hours=1))
        application = FastAPI()

        @application.exception_handler(SiagaError)
        async def complaint(_: Request, error: SiagaError) -> JSONResponse:
            return JSONResponse({"message": error.message}, {2: 422, 4: 409}[int(error.exit_code)])

        application.include_router(create_router(self.incidents, account, _actor, routes=[ROUTE], secret=_secret))
        self.client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=application), base_url="http://siaga", headers={"x-user": "ana"}
        )

    async def _since(self, _: datetime) -> Sequence[Mapping[str, Any]]:
        return self.log.records


def _actor(request: Request) -> str:
    if "x-user" not in request.headers:
        raise HTTPException(401)
    return request.headers["x-user"]


async def _secret(name: str) -> str:
    return {"hook": "s3cret"}[name]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    found = Api(tmp_path)
    yield found
    await found.client.aclose()
    await found.incidents.close()


async def open_outage(api: Api) -> str:
    await api.incidents.note([Fact("outage", FactKind.OUTAGE, NOW, True, "users get <b>errors</b>", "ZDT-1", 0.25)])
    await api.incidents.run_pass()
    return api.incidents.open[0].id


async def test_an_incident_is_shown_with_its_timeline_and_the_regulators_clock(api: Api) -> None:
    id_ = await open_outage(api)
    found = (await api.client.get(f"/v1/incidents/{id_}")).json()
    assert (found["label"], found["state"], found["share"]) == ("Level 3 · Critical", "open", 0.25)
    assert found["told"] == "nobody was told yet"
    assert [entry["kind"] for entry in found["timeline"]] == ["incident.opened"]
    assert found["regulator"]["regulator"] == "OJK"
    listed = (await api.client.get("/v1/incidents")).json()
    assert (listed["open"], listed["level"], listed["incidents"][0]["id"]) == (1, 3, id_)


async def test_people_act_under_their_own_names(api: Api) -> None:
    declared = (await api.client.post("/v1/incidents", json={"level": 2, "reason": "users call"})).json()
    path = f"/v1/incidents/{declared['id']}"
    assert (await api.client.post(f"{path}/acknowledge")).json()["acknowledged_by"] == "ana"
    lowered = await api.client.post(f"{path}/downgrade", json={"to": 1, "reason": "one user"})
    assert lowered.json()["label"] == "Level 1 · Minor"
    done = await api.client.post(f"{path}/resolve", json={"reason": "explained"})
    assert (done.json()["state"], done.json()["resolved_by"]) == ("resolved", "ana")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/incidents", {"level": 4, "reason": "x"}, 422),
        ("/v1/incidents", {"level": 0, "reason": "x"}, 422),
        ("/v1/incidents", {"level": "3", "reason": "x"}, 422),
        ("/v1/incidents", {"level": 3, "reason": ""}, 422),
        ("/v1/incidents", {"level": 3, "reason": "   "}, 422),
        ("/v1/incidents/inc-0/resolve", {"reason": "x"}, 422),
        ("/v1/alerts", {"alerts": "none"}, 422),
    ],
)
async def test_bad_input_changes_nothing(api: Api, path: str, body: object, status: int) -> None:
    assert (await api.client.post(path, json=body)).status_code == status
    assert api.incidents.open == ()


async def test_what_lasts_is_not_closed(api: Api) -> None:
    id_ = await open_outage(api)
    answer = await api.client.post(f"/v1/incidents/{id_}/resolve", json={"reason": "tired"})
    assert answer.status_code == 409
    assert "still lasts" in answer.json()["message"]


async def test_a_stranger_may_do_nothing(api: Api) -> None:
    for method, path in (("GET", "/v1/incidents"), ("POST", "/v1/incidents"), ("POST", "/v1/alerts")):
        request = api.client.build_request(method, path, json={"level": 3, "reason": "x"})
        del request.headers["x-user"]
        assert (await api.client.send(request)).status_code == 401


def _alert(number: int) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": f"Alert{number}", "severity": "warning"},
        "startsAt": NOW.isoformat(),
        "fingerprint": f"{number:016x}",
    }


async def test_a_flood_of_10000_alerts_in_a_hundred_messages_is_one_small_incident(api: Api, tmp_path: Path) -> None:
    for begin in range(0, 10_000, 100):
        body = {"alerts": [_alert(number) for number in range(begin, begin + 100)]}
        assert (await api.client.post("/v1/alerts", json=body)).json() == {"alerts": 100}
    (incident,) = api.incidents.open
    assert len(incident.causes) + incident.alerts_more == 10_000
    assert (tmp_path / "incidents.json").stat().st_size < 200_000


async def test_pagerduty_is_let_in_by_its_signature_alone(api: Api) -> None:
    id_ = await open_outage(api)
    data = {"incident_key": f"siaga/embedded/{id_}"}
    body = json.dumps({"event": {"event_type": "incident.acknowledged", "agent": {"summary": "Budi"}, "data": data}})
    assert (await api.client.post("/v1/pagerduty", content=body)).status_code == 409
    signature = hmac.new(b"s3cret", body.encode(), hashlib.sha256).hexdigest()
    headers = {"x-pagerduty-signature": f"v1={signature}"}
    answer = await api.client.post("/v1/pagerduty", content=body, headers=headers)
    assert answer.json() == {"done": "acknowledged here too"}
    assert api.incidents.open[0].acknowledged_by == "pagerduty:Budi"


async def test_a_report_is_written_from_the_record_and_takes_no_markup_from_outside(api: Api) -> None:
    id_ = await open_outage(api)
    html = (await api.client.get(f"/v1/incidents/{id_}/report?form=html")).json()["text"]
    assert "Level 3 · Critical" in html
    assert "incident.opened" in html
    assert "<b>errors" not in html
    assert "users get &lt;b&gt;errors&lt;/b&gt;" in html
    markdown = (await api.client.get(f"/v1/incidents/{id_}/report")).json()["text"]
    assert f"# Post-incident report: {id_}" in markdown
    assert "2026-11-24 03:00:00 WIB (20:00:00 UTC)" in markdown
    assert "<b>" not in markdown


async def test_the_regulators_form_is_drafted_for_a_person_to_complete(api: Api) -> None:
    id_ = await open_outage(api)
    text = (await api.client.get(f"/v1/incidents/{id_}/regulator")).json()["text"]
    assert "| To | OJK |" in text
    assert "| Due | 2026-11-24 20:00 UTC |" in text
    assert "a person fills this in" in text
