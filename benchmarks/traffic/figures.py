"""What users saw of a fault, as figures; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.traffic.load import Answer

SLOW_MS = 500.0
"""ZDT-1.1a."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run; counts after the injection, over safe and keyed requests unless named raw."""

    requests: int
    errors: int
    slow: int
    repeated: int
    """Answered after the first node was given up."""
    divert_s: float
    """Injection to the last safe or keyed request that failed, was slow, or had the bad node as first choice."""
    harm_s: float
    """The same without the first choices: only what a user could notice."""
    raw_requests: int
    raw_errors: int
    raw_slow: int
    latency_ms_p50: float
    latency_ms_p99: float
    latency_ms_max: float


def figures(
    answers: Sequence[Answer], injected_s: float, bad: Sequence[str], node_of_address: Mapping[str, str]
) -> Figures:
    """Read them off."""
    after = [answer for answer in answers if answer.sent_s >= injected_s]
    repeatable = [answer for answer in after if answer.kind != "raw"]
    raw = [answer for answer in after if answer.kind == "raw"]
    harmed = [answer for answer in repeatable if failed(answer) or slow(answer)]
    touched = harmed + [answer for answer in repeatable if _first(answer, node_of_address) in bad]
    latencies = sorted(answer.latency_ms for answer in repeatable) or [0.0]
    return Figures(
        requests=len(repeatable),
        errors=sum(failed(answer) for answer in repeatable),
        slow=sum(slow(answer) for answer in repeatable),
        repeated=sum(len(answer.attempted) > 1 for answer in repeatable),
        divert_s=_last(touched, injected_s),
        harm_s=_last(harmed, injected_s),
        raw_requests=len(raw),
        raw_errors=sum(failed(answer) for answer in raw),
        raw_slow=sum(slow(answer) for answer in raw),
        latency_ms_p50=round(latencies[len(latencies) // 2], 1),
        latency_ms_p99=round(latencies[len(latencies) * 99 // 100], 1),
        latency_ms_max=round(latencies[-1], 1),
    )


def failed(answer: Answer) -> bool:
    """No answer, or a server's error."""
    return answer.status == 0 or answer.status >= 500


def slow(answer: Answer) -> bool:
    """Answered, over the clause's limit."""
    return not failed(answer) and answer.latency_ms > SLOW_MS


def _first(answer: Answer, node_of_address: Mapping[str, str]) -> str:
    if answer.attempted:
        return node_of_address.get(answer.attempted[0], "")
    return answer.served_by


def _last(answers: Sequence[Answer], injected_s: float) -> float:
    return round(max((answer.sent_s for answer in answers), default=injected_s) - injected_s, 3)
