"""Decisions in words with their figures, for the person on call and for the evidence (pure; ZDT-1.1a)."""

from __future__ import annotations

from statistics import median

from siaga.traffic.judge import Judgement, Pool, Vote, evidence, pool_p50_ms
from siaga.traffic.model import Sample
from siaga.traffic.windows import p50_ms

Figures = dict[str, float | int | str]


def figures(node: str, judgement: Judgement, pool: Pool) -> Figures:
    """What was measured of a bad node, beside the pool and the limit."""
    accusers = [v for v, vote in judgement.votes.items() if vote in (Vote.BAD, Vote.ALIKE)]
    samples = [s for v in accusers for s in evidence(node, v, pool)]
    bad = [s for s in samples if s.bad]
    peers_ms = [pool_p50_ms(_peers_seen(node, v, pool), v, pool) for v in accusers]
    return {
        "vantages_bad": judgement.against,
        "vantages_seeing": judgement.seeing,
        "probes": len(samples),
        "probes_bad": len(bad),
        "probes_failed": sum(s.failed for s in bad),
        "over_s": round(_span_s(samples), 1),
        "p50_ms": round(p50_ms(tuple(samples))),
        "pool_p50_ms": round(median(peers_ms)) if peers_ms else 0,
        "limit_ms": round(pool.policy.latency_ms_max),
        "proxy": judgement.proxy.value,
    }


def accusation(known: Figures) -> str:
    """What is wrong with the node, in one clause of a sentence."""
    probes, bad, failed = int(known["probes"]), int(known["probes_bad"]), int(known["probes_failed"])
    seen = f"over {known['over_s']} s from {known['vantages_bad']} of {known['vantages_seeing']} vantage points"
    if probes and 2 * bad > probes and 2 * failed <= bad:
        return (
            f"p50 of {known['p50_ms']} ms {seen} against a pool median of {known['pool_p50_ms']} ms, "
            f"limit {known['limit_ms']} ms"
        )
    return (
        f"{bad} of {probes} probes failed or took more than {known['limit_ms']} ms {seen}, "
        f"pool median {known['pool_p50_ms']} ms"
    )


def _span_s(samples: list[Sample]) -> float:
    return max(s.at_s for s in samples) - min(s.sent_s for s in samples) if samples else 0.0


def _peers_seen(node: str, vantage: str, pool: Pool) -> list[str]:
    return [p for p in pool.peers(node) if vantage in pool.votes[p]]
