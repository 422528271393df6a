"""PagerDuty, Events API v2: one dedup key an incident, so that whatever is sent twice is one incident there."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from siaga.errors import SiagaError
from siaga.incidents.model import Level
from siaga.incidents.notify.message import Event, Message
from siaga.incidents.notify.routes import Outcome, Verdict, severity
from siaga.incidents.notify.secrets import Secret
from siaga.site.notifications import RouteKind

URL = "https://events.pagerduty.com/v2/enqueue"
DEADLINE_S = 10.0
SUMMARY_MAX = 1024
"""Longer is refused: https://developer.pagerduty.com/docs/send-alert-event"""

_ACTIONS = {Event.ACKNOWLEDGED: "acknowledge", Event.RESOLVED: "resolve"}


class PagerDutySender:
    """Sends to one PagerDuty service."""

    def __init__(self, secret_name: str, secret: Secret, *, url: str = "", source: str) -> None:
        """`secret_name` holds the routing key; `source` is the site's name."""
        self._secret_name = secret_name
        self._secret = secret
        self._url = url or URL
        self._source = source

    async def send(self, message: Message) -> Outcome:
        """One attempt, its end within the deadline whatever the other side does."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                body = event(message, await self._secret(self._secret_name), self._source)
                async with httpx2.AsyncClient(follow_redirects=False, timeout=None) as client:
                    answer = await client.post(self._url, json=body)
        except SiagaError as error:
            return Outcome(Verdict.REFUSED, error.message)
        except TimeoutError:
            return Outcome(Verdict.FAILED, f"no answer within {DEADLINE_S:g} s")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            # Only the kind: a message may quote the address or the key.
            return Outcome(Verdict.FAILED, f"no answer ({type(error).__name__})")
        return judge(answer.status_code, answer.headers.get("retry-after", ""))


def event(message: Message, routing_key: str, source: str) -> dict[str, Any]:
    """The body of the request."""
    action = _ACTIONS.get(message.event, "trigger")
    body: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": message.dedup_key,
    }
    if action == "trigger":
        body["client"] = "Siaga"
        body["payload"] = {
            "summary": message.title[:SUMMARY_MAX],
            "source": source,
            "severity": severity(RouteKind.PAGERDUTY, Level(message.level)),
            "timestamp": message.onset.isoformat(),
            "class": message.level.label,
            "custom_details": {"incident": message.incident, "event": str(message.event), "text": message.text},
        }
    return body


def judge(status: int, retry_after: str) -> Outcome:
    """What an answer means."""
    if 200 <= status < 300:
        return Outcome(Verdict.ACCEPTED)
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        wait_s = float(retry_after) if retry_after.isdigit() else None
        return Outcome(Verdict.BUSY, "too many requests (429)", wait_s)
    if 400 <= status < 500 and status != httpx2.codes.REQUEST_TIMEOUT:
        return Outcome(Verdict.REFUSED, f"refused with status {status}; look at the route's key")
    return Outcome(Verdict.FAILED, f"answered with status {status}")
