"""What users saw, in figures, and against the clause (pure). All clocks start at the injection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from siaga.drills.model import Check, Figure, Seen

DIVERT_S_GOAL = 1.0
"""Our own bound; the clause allows `divert_s_max` (10 s)."""


def traffic_figures(seen: Sequence[Seen], injected_s: float, latency_ms_max: float) -> dict[str, Figure]:
    """Errors and slow answers of one window, and how long the fault touched anybody."""
    steered = [s for s in seen if s.retried_safely]
    latencies = sorted(s.latency_ms for s in steered)
    touched = [s.sent_s - injected_s for s in steered if s.bad_first or (s.tried_bad and _harmed(s, latency_ms_max))]
    return {
        "requests": len(seen),
        "safe_or_keyed": len(steered),
        "errors": sum(s.failed for s in steered),
        "slow_answers": sum(not s.failed and s.latency_ms > latency_ms_max for s in steered),
        "divert_s": round(max((t for t in touched if t >= 0), default=0.0), 3),
        "touched": len(touched),
        "raw_errors": sum(s.failed for s in seen if not s.retried_safely),
        "outage_answers": sum(s.outage for s in seen),
        "logged_out": sum(s.logged_out for s in seen),
        "latency_p50_ms": _quantile(latencies, 0.5),
        "latency_p99_ms": _quantile(latencies, 0.99),
        "latency_max_ms": _quantile(latencies, 1.0),
    }


def _harmed(seen: Seen, latency_ms_max: float) -> bool:
    return seen.failed or seen.latency_ms > latency_ms_max


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


def beyond_noise(figures: Mapping[str, Figure], control: Mapping[str, Figure], names: Iterable[str]) -> list[Check]:
    """Counts that may not exceed those of a control run of the same length."""
    checks = []
    for name in names:
        found, noise = figures[name] or 0, control[name] or 0
        checks.append(Check(name, found, f"at most {noise} (the control run)", found <= noise))
    return checks


def at_most(figures: Mapping[str, Figure], name: str, limit: float, why: str) -> Check:
    """A figure that must have been measured and must not exceed its limit."""
    value = figures.get(name)
    return Check(name, value, f"at most {limit:g} ({why})", value is not None and value <= limit)


def exactly(figures: Mapping[str, Figure], name: str, wanted: Figure, why: str) -> Check:
    """A figure that must have been measured as just this."""
    value = figures.get(name)
    return Check(name, value, f"{wanted} ({why})", value is not None and value == wanted)
