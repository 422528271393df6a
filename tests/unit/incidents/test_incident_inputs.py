"""What comes in from Alertmanager and PagerDuty, good and bad."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.errors import BadInput, Refused
from siaga.incidents import alertmanager
from siaga.incidents.model import FactKind, Level
from siaga.incidents.notify import pagerduty_webhook
from siaga.incidents.notify.apprise_route import is_low_urgency
from siaga.incidents.notify.pagerduty import judge
from siaga.incidents.notify.pagerduty_webhook import Word
from siaga.incidents.notify.routes import Verdict


def alert(**changes: Any) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": "DiskFull", "severity": "warning"},
        "annotations": {"summary": "disk of sgp-1 is 95 % full"},
        "startsAt": "2026-11-23T03:00:00.5+07:00",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": "a1b2",
        **changes,
    }


def webhook(*alerts: Any) -> bytes:
    return json.dumps({"version": "4", "status": "firing", "alerts": list(alerts)}).encode()


def test_an_alert_becomes_a_fact() -> None:
    (fact,) = alertmanager.facts(webhook(alert()))
    assert (fact.key, fact.kind, fact.present, fact.level) == ("alert:a1b2", FactKind.ALERT, True, Level.MAJOR)
    assert fact.subject == "disk of sgp-1 is 95 % full"
    assert fact.since.isoformat() == "2026-11-22T20:00:00.500000+00:00"


def test_a_resolved_alert_has_ended_at_its_end() -> None:
    (fact,) = alertmanager.facts(webhook(alert(status="resolved", endsAt="2026-11-23T04:00:00Z")))
    assert not fact.present
    assert fact.since.hour == 4


@pytest.mark.parametrize(
    ("labels", "level"),
    [
        ({"severity": "critical"}, Level.CRITICAL),
        ({"severity": "info"}, Level.MINOR),
        ({"severity": "apocalyptic"}, Level.CRITICAL),
        ({}, None),
        ({"severity": "info", "siaga_level": "3"}, Level.CRITICAL),
    ],
)
def test_an_unknown_word_is_the_higher_level(labels: dict[str, str], level: Level | None) -> None:
    (fact,) = alertmanager.facts(webhook(alert(labels=labels)))
    assert fact.level is level


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"[1", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "alerts: field required"),
        (b"[]", "the message: input should be"),
        (webhook(alert(status="loud")), "alerts.0.status: input should be 'firing' or 'resolved'"),
        (webhook(alert(), alert(startsAt="yesterday")), "alerts.1.startsAt"),
        (webhook(alert(startsAt="2026-11-23T03:00:00")), "alerts.0.startsAt: input should have timezone info"),
        (webhook(alert(startsAt="0001-01-01T00:00:00+07:00")), "a time before the year 1"),
        (webhook(alert(fingerprint="")), "alerts.0.fingerprint"),
        (b"x" * (alertmanager.BODY_BYTES_MAX + 1), "more than"),
    ],
)
def test_a_bad_webhook_is_named_and_nothing_of_it_taken(body: bytes, words: str) -> None:
    with pytest.raises(BadInput, match="alerts: ") as refused:
        alertmanager.facts(body)
    assert words in refused.value.message


@given(st.binary(max_size=200))
def test_any_bytes_are_facts_or_a_named_refusal(body: bytes) -> None:
    with pytest.raises(BadInput):
        alertmanager.facts(body)


def signed(body: bytes, secret: str = "s3cret") -> str:
    return f"v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def event(kind: str = "incident.acknowledged", **changes: Any) -> bytes:
    data = {"id": "P1", "type": "incident", "incident_key": "siaga/payments/inc-1", **changes}
    agent = {"type": "user_reference", "summary": "Ana Putri"}
    return json.dumps({"event": {"event_type": kind, "agent": agent, "data": data}}).encode()


def test_a_signed_acknowledgement_is_read() -> None:
    body = event()
    answer = pagerduty_webhook.read(body, f"v1=00,{signed(body)}", ["old", "s3cret"])
    assert answer is not None
    assert (answer.word, answer.dedup_key, answer.actor) == (Word.ACKNOWLEDGED, "siaga/payments/inc-1", "Ana Putri")


@pytest.mark.parametrize("header", ["", "v1=", "v1=zz", "v2=abc", "é", "v1=é"])
def test_a_webhook_that_nobody_signed_is_refused(header: str) -> None:
    with pytest.raises(Refused, match="signature"):
        pagerduty_webhook.read(event(), header, ["s3cret"])


def test_a_changed_webhook_is_refused() -> None:
    body = event()
    with pytest.raises(Refused, match="signature"):
        pagerduty_webhook.read(body.replace(b"inc-1", b"inc-2"), signed(body), ["s3cret"])


def test_other_events_say_nothing() -> None:
    body = event("incident.priority_updated")
    assert pagerduty_webhook.read(body, signed(body), ["s3cret"]) is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"event": 1}', b'{"event": {"event_type": "incident.resolved"}}']
)
def test_a_signed_webhook_without_sense_is_bad_input(body: bytes) -> None:
    with pytest.raises(BadInput, match="the webhook has no `event`"):
        pagerduty_webhook.read(body, signed(body), ["s3cret"])


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (202, Verdict.ACCEPTED),
        (302, Verdict.FAILED),
        (400, Verdict.REFUSED),
        (403, Verdict.REFUSED),
        (408, Verdict.FAILED),
        (429, Verdict.BUSY),
        (500, Verdict.FAILED),
        (503, Verdict.FAILED),
    ],
)
def test_every_status_has_its_meaning(status: int, verdict: Verdict) -> None:
    assert judge(status, "").verdict is verdict


def test_the_time_a_busy_route_asks_for_is_read() -> None:
    assert judge(429, "17").retry_after_s == 17.0
    assert judge(429, "Wed, 21 Oct 2026 07:28:00 GMT").retry_after_s is None


@pytest.mark.parametrize(
    ("url", "low"),
    [
        ("pover://user@token?priority=low", True),
        ("ntfys://topic?priority=min", True),
        ("pover://user@token?priority=emergency", False),
        ("json://localhost/path", False),
        ("json://[", False),
    ],
)
def test_a_url_of_low_priority_is_known(url: str, low: bool) -> None:
    assert is_low_urgency(url) is low
