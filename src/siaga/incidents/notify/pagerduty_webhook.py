"""What comes back from PagerDuty: webhooks version 3, signed (pure)."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from siaga.errors import BadInput, Refused

SIGNATURE_HEADER = "x-pagerduty-signature"
BODY_BYTES_MAX = 1 << 20


class Word(StrEnum):
    """What somebody said there; everything else is none of our business."""

    ACKNOWLEDGED = "incident.acknowledged"
    RESOLVED = "incident.resolved"


@dataclass(frozen=True, slots=True)
class Answer:
    """Somebody's word about one of our incidents."""

    word: Word
    dedup_key: str
    actor: str
    """By name, or `PagerDuty` where a machine said it."""


def read(body: bytes, signatures: str, secrets: Iterable[str]) -> Answer | None:
    """The answer in a webhook; None when it says nothing that matters here.

    Refused when no secret has signed it, BadInput when it is signed and still makes no sense. `signatures` is the
    header as it came: one or more `v1=<hex>` with commas between, since keys are rotated.
    """
    if not _signed(body, signatures, secrets):
        raise Refused(
            "the webhook's signature is wrong or missing",
            hint="Store the webhook subscription's secret under the name in `webhook_secret` of its route.",
        )
    try:
        event = json.loads(body)["event"]
        kind, content = event["event_type"], event["data"]
        if kind not in tuple(Word):
            return None
        key = content.get("incident_key") or ""
        agent = event.get("agent") or {}
        actor = str(agent.get("summary") or "PagerDuty")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"the webhook has no `event` with `event_type` and `data` ({type(error).__name__})",
            hint="Expected a webhook of version 3: https://developer.pagerduty.com/docs/webhooks-overview",
        ) from error
    return Answer(Word(kind), str(key), actor[:100])


def _signed(body: bytes, signatures: str, secrets: Iterable[str]) -> bool:
    given = [s.strip().removeprefix("v1=").encode() for s in signatures.split(",") if s.strip().startswith("v1=")]
    wanted = [hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode() for secret in secrets]
    return any(hmac.compare_digest(one, other) for one in given for other in wanted)
