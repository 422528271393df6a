"""Alertmanager's webhooks as facts (pure); https://prometheus.io/docs/alerting/latest/configuration/#webhook_config.

A label `siaga_level` (1, 2 or 3) is taken as it is; otherwise `severity` is read, and what nobody knows is the
higher of what it may be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from siaga.errors import BadInput
from siaga.incidents.model import Fact, FactKind, Level

BODY_BYTES_MAX = 16 << 20
"""A flood of 10,000 alerts in one message has about half of it."""
ALERTS_MAX = 20_000
SUBJECT_MAX = 200
MISTAKES_SHOWN = 5

_LEVELS: Mapping[str, Level] = {
    "critical": Level.CRITICAL,
    "page": Level.CRITICAL,
    "error": Level.MAJOR,
    "warning": Level.MAJOR,
    "info": Level.MINOR,
    "none": Level.MINOR,
}
_ASKED = {str(int(level)): level for level in Level}


class _Alert(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    startsAt: AwareDatetime  # noqa: N815 (their name)
    endsAt: AwareDatetime | None = None  # noqa: N815
    fingerprint: str = Field(min_length=1, max_length=64)


class _Webhook(BaseModel):
    model_config = ConfigDict(extra="ignore")

    alerts: list[_Alert] = Field(max_length=ALERTS_MAX)


def facts(body: bytes) -> tuple[Fact, ...]:
    """Each alert as a fact; BadInput names what is wrong, and then nothing of it is taken."""
    if len(body) > BODY_BYTES_MAX:
        raise _bad(f"more than {BODY_BYTES_MAX} bytes")
    try:
        webhook = _Webhook.model_validate(json.loads(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        mistakes = [f"{'.'.join(map(str, e['loc'])) or 'the message'}: {e['msg'].lower()}" for e in found]
        more = f"; {len(mistakes) - MISTAKES_SHOWN} more" if len(mistakes) > MISTAKES_SHOWN else ""
        raise _bad("; ".join(mistakes[:MISTAKES_SHOWN]) + more) from error
    except (ValueError, RecursionError) as error:
        raise _bad("not JSON") from error
    try:
        return tuple(_fact(alert) for alert in webhook.alerts)
    except OverflowError as error:
        raise _bad("a time before the year 1 or after the year 9999") from error


def _bad(what: str) -> BadInput:
    return BadInput(
        f"alerts: {what}",
        hint="Expected Alertmanager's webhook: `alerts` with status, labels, startsAt and fingerprint each.",
    )


def _fact(alert: _Alert) -> Fact:
    firing = alert.status == "firing"
    at = alert.startsAt if firing else (alert.endsAt or alert.startsAt)
    return Fact(
        key=f"alert:{alert.fingerprint}",
        kind=FactKind.ALERT,
        since=at.astimezone(UTC),
        present=firing,
        subject=_subject(alert),
        clause=alert.labels.get("clause", "")[:20],
        level=_level(alert.labels),
    )


def _subject(alert: _Alert) -> str:
    said = alert.annotations.get("summary") or alert.labels.get("alertname") or f"alert {alert.fingerprint}"
    return " ".join(said.split())[:SUBJECT_MAX] or f"alert {alert.fingerprint}"


def _level(labels: Mapping[str, str]) -> Level | None:
    asked = _ASKED.get(labels.get("siaga_level", ""))
    if asked is not None:
        return asked
    severity = labels.get("severity", "").strip().lower()
    # A word that nobody here knows may mean the worst.
    return _LEVELS.get(severity, Level.CRITICAL) if severity else None
