"""From a fact to somebody who knows: real servers, routes that are down, slow, refusing, and a kill in between."""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from incident_receivers import receiver
from incident_service import Log, by_apprise, outage, pagerduty, service, until

from siaga.errors import Refused
from siaga.incidents.files import read_lines
from siaga.incidents.model import Level
from siaga.incidents.notify.heartbeat import HeartbeatSender
from siaga.incidents.notify.pagerduty_webhook import Answer, Word

KEY = "R0UTINGKEY"


@pytest.mark.clause("ZDT-1")
async def test_an_outage_reaches_pagerduty_as_critical_and_is_resolved_by_the_same_key(tmp_path: Path) -> None:
    log = Log()
    async with receiver() as there, service(tmp_path, [pagerduty(there.url)], log, routing_key=KEY) as incidents:
        await incidents.note([outage()])
        (event,) = await there.until(lambda heard: len(heard) == 1)
        (incident,) = incidents.open
        assert (event["routing_key"], event["event_action"]) == (KEY, "trigger")
        assert event["dedup_key"] == f"siaga/test/{incident.id}"
        assert event["payload"]["severity"] == "critical"
        assert event["payload"]["summary"] == "Level 3 · Critical: users get errors in sgp"
        await until(lambda: incidents.show(incident.id)["figures"]["notified_s"] is not None)
        assert incidents.told(incidents.find(incident.id)) == "told by on-call"

        await incidents.acknowledge(incident.id, "ana")
        await incidents.note([outage(present=False)])
        await incidents.resolve(incident.id, "ana", "front door restarted")
        heard = await there.until(lambda heard: len(heard) == 3)
        assert [event["event_action"] for event in heard] == ["trigger", "acknowledge", "resolve"]
        assert {event["dedup_key"] for event in heard} == {f"siaga/test/{incident.id}"}
        await until(lambda: "incident.resolved" in [record.kind for record in log.records])
    kinds = [record.kind for record in log.records]
    assert kinds[0] == "incident.opened"
    assert "incident.notified" in kinds
    assert KEY not in "".join(path.read_text() for path in tmp_path.iterdir()) + str(log.records)


async def test_everybody_else_is_told_through_apprise(tmp_path: Path) -> None:
    async with receiver() as there:
        url = there.url.replace("http://", "json://") + "/hook"
        async with service(tmp_path, [by_apprise()], Log(), chat_url=url) as incidents:
            await incidents.note([outage()])
            (said,) = await there.until(lambda heard: len(heard) == 1)
            assert said["title"] == "Level 3 · Critical: users get errors in sgp"
            assert said["type"] == "failure"
            assert "Share of users affected: 40.0%." in said["message"]


async def test_a_route_that_is_busy_then_broken_is_told_in_the_end(tmp_path: Path) -> None:
    async with receiver(429, 500) as there:
        there.headers["Retry-After"] = "0"
        async with service(tmp_path, [pagerduty(there.url)], Log(), routing_key=KEY) as incidents:
            await incidents.note([outage()])
            heard = await there.until(lambda heard: len(heard) == 3)
            assert len({event["dedup_key"] for event in heard}) == 1
            await until(lambda: bool(incidents.open[0].notified_by))
    verdicts = [line["verdict"] for line in read_lines(tmp_path / "deliveries.jsonl")]
    assert verdicts == ["busy", "failed", "accepted"]


async def test_the_next_step_is_told_at_once_when_a_route_refuses(tmp_path: Path) -> None:
    async with receiver(400) as refusing, receiver() as chief:
        routes = [pagerduty(refusing.url), by_apprise("chief", level_min=3, after_s=3600)]
        url = chief.url.replace("http://", "json://")
        async with service(tmp_path, routes, Log(), routing_key=KEY, chief_url=url) as incidents:
            await incidents.note([outage()])
            await chief.until(lambda heard: len(heard) == 1)
            assert incidents.describe()["failing_routes"] == {
                "on-call": "refused with status 400; look at the route's key"
            }


async def test_a_route_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    async with receiver(None) as hanging, receiver() as there:
        routes = [by_apprise(), pagerduty(there.url)]
        url = hanging.url.replace("http://", "json://")
        async with service(tmp_path, routes, Log(), chat_url=url, routing_key=KEY) as incidents:
            await incidents.note([outage()])
            await there.until(lambda heard: len(heard) == 1)
            await until(lambda: incidents.told(incidents.open[0]) == "told by on-call")


async def test_a_route_without_its_secret_is_named_and_the_next_step_told(tmp_path: Path) -> None:
    async with receiver() as chief:
        routes = [pagerduty(chief.url), by_apprise("chief", level_min=3, after_s=3600)]
        url = chief.url.replace("http://", "json://")
        async with service(tmp_path, routes, Log(), chief_url=url) as incidents:
            await incidents.note([outage()])
            (said,) = await chief.until(lambda heard: len(heard) == 1)
            assert said["title"].startswith("Level 3")
            assert incidents.describe()["failing_routes"] == {
                "on-call": "the secret `routing-key` can't be read (No such file or directory)"
            }


async def test_nobody_is_told_where_no_route_is_configured_and_it_says_so(tmp_path: Path) -> None:
    async with service(tmp_path, [], Log()) as incidents:
        await incidents.note([outage()])
        assert incidents.show(incidents.open[0].id)["told"] == "no route is configured: nobody was told"


async def test_closed_at_pagerduty_while_it_lasts_is_opened_again_there(tmp_path: Path) -> None:
    async with receiver() as there, service(tmp_path, [pagerduty(there.url)], Log(), routing_key=KEY) as incidents:
        await incidents.note([outage()])
        await there.until(lambda heard: len(heard) == 1)
        key = there.heard[0]["dedup_key"]
        said = await incidents.answered(Answer(Word.RESOLVED, key, "Ana"))
        assert "still lasts" in said
        heard = await there.until(lambda heard: len(heard) == 2)
        assert (heard[1]["event_action"], heard[1]["dedup_key"]) == ("trigger", key)
        assert await incidents.answered(Answer(Word.ACKNOWLEDGED, key, "Ana")) == "acknowledged here too"
        assert incidents.open[0].acknowledged_by == "pagerduty:Ana"
        assert await incidents.answered(Answer(Word.RESOLVED, "other/x", "Ana")) == "not an incident of this platform"


async def test_what_was_declared_before_a_kill_is_told_after_it_by_the_same_key(place: Path | str) -> None:
    async with receiver(None) as there:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _DECLARES,
            str(place),
            there.url,
            str(Path(__file__).parents[1]),
            env=dict(os.environ),
        )
        try:
            await there.until(lambda heard: len(heard) == 1)
        finally:
            child.send_signal(signal.SIGKILL)
            await child.wait()
        async with service(place, [pagerduty(there.url)], Log(), routing_key=KEY) as incidents:
            heard = await there.until(lambda heard: len(heard) == 2)
            assert heard[0]["dedup_key"] == heard[1]["dedup_key"]
            await until(lambda: bool(incidents.open[0].notified_by))
            assert len(incidents.open) == 1


_DECLARES = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from incident_service import Log, outage, pagerduty, service

async def main():
    place = sys.argv[1] if "host=" in sys.argv[1] else Path(sys.argv[1])
    async with service(place, [pagerduty(sys.argv[2])], Log(), routing_key="R0UTINGKEY") as incidents:
        await incidents.note([outage()])
        await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_two_people_at_once_have_one_outcome(tmp_path: Path) -> None:
    async with service(tmp_path, [], Log()) as incidents:
        done = await incidents.declare(Level.MAJOR, "ana", "users call")
        await asyncio.gather(incidents.acknowledge(done["id"], "ana"), incidents.acknowledge(done["id"], "budi"))
        assert incidents.find(done["id"]).acknowledged_by == "ana"
        results = await asyncio.gather(
            incidents.downgrade(done["id"], Level.MINOR, "ana", "quiet"),
            incidents.downgrade(done["id"], Level.MINOR, "budi", "quiet"),
            return_exceptions=True,
        )
        assert isinstance(results[1], Refused)
        assert [change.actor for change in incidents.find(done["id"]).levels] == ["ana", "ana"]


async def test_a_full_disk_keeps_nobody_from_being_told(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    async with receiver() as there, service(directory, [pagerduty(there.url)], Log(), routing_key=KEY) as incidents:
        await incidents.note([outage()])
        await there.until(lambda heard: len(heard) == 1)
        assert "No such file" in incidents.describe()["disk_trouble"]
        directory.mkdir()
        await until(lambda: incidents.describe()["disk_trouble"] == "")
        assert (directory / "incidents.json").exists()


async def test_the_heartbeat_is_silent_while_something_is_wrong_here() -> None:
    trouble = "the evidence is closed"
    async with receiver(200) as there:

        async def secret(_: str) -> str:
            return f"{there.url}/ping/1234"

        heartbeat = HeartbeatSender("switch", secret, lambda: trouble)
        await heartbeat.run_pass(datetime.now(UTC))
        assert there.heard == []
        assert heartbeat.describe() == {"heard_at": None, "why": "the evidence is closed"}
        trouble = ""
        await heartbeat.run_pass(datetime.now(UTC))
        assert len(there.heard) == 1
        assert heartbeat.describe()["why"] == ""
