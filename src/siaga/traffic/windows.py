"""The evidence that still counts: recent samples of every node from every vantage point (pure)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from siaga.traffic.model import Facts, Outcome, ProxyView, Sample, States, TrafficPolicy, Window

_FUTURE_S = 1.0
"""A fact dated later than this is from a clock that has since gone backwards."""
_FAILED = (Outcome.ERROR, Outcome.TIMEOUT)


def observe(facts: Facts, states: States, policy: TrafficPolicy, now_s: float) -> States:
    """Take in the new facts and let the old ones go; after a pause or a clock jump, begin anew."""
    gap_s = 0.0 if states.last_s is None else now_s - states.last_s
    jumped = gap_s < 0 or gap_s > policy.pass_gap_s_max
    since_s = now_s if jumped else states.watching_since_s
    views = {} if jumped else states.views
    windows = {} if jumped else states.windows
    return replace(
        states,
        windows=_extend(facts, windows, policy, now_s, since_s),
        views=_extend_views(facts, views, policy, now_s, since_s),
        last_s=now_s,
        watching_since_s=since_s,
    )


def _extend(
    facts: Facts,
    windows: Mapping[str, Mapping[str, Window]],
    policy: TrafficPolicy,
    now_s: float,
    since_s: float | None,
) -> dict[str, dict[str, Window]]:
    fresh = _believed(facts, policy, now_s, since_s)
    horizon_s = now_s - policy.window_s
    extended: dict[str, dict[str, Window]] = {}
    for node in facts.regions:
        kept: dict[str, Window] = {}
        news = fresh.get(node, {})
        for vantage, window in windows.get(node, {}).items():
            slid = _slide(window, news.pop(vantage, None), horizon_s)
            if slid.samples:
                kept[vantage] = slid
        for vantage, samples in news.items():
            kept[vantage] = Window(tuple(samples), sum(s.bad for s in samples))
        extended[node] = kept
    return extended


def _believed(
    facts: Facts, policy: TrafficPolicy, now_s: float, since_s: float | None
) -> dict[str, dict[str, list[Sample]]]:
    """New samples by node and vantage point, without those that say nothing about the node now."""
    fresh: dict[str, dict[str, list[Sample]]] = {}
    horizon_s, future_s = now_s - policy.window_s, now_s + _FUTURE_S
    sent_s_min = -math.inf if since_s is None else since_s
    limit_ms = policy.latency_ms_max
    for probe in facts.probes:
        outcome, at_s = probe.outcome, probe.at_s
        sent_s = at_s - probe.latency_ms / 1000.0
        if outcome is Outcome.UNKNOWN or sent_s < sent_s_min or not horizon_s <= at_s <= future_s:
            continue
        latency_ms = max(0.0, probe.latency_ms - probe.distance_ms)
        failed = outcome in _FAILED
        bad = failed or (outcome is Outcome.OK and latency_ms > limit_ms)
        by_vantage = fresh.setdefault(probe.node, {})
        by_vantage.setdefault(probe.vantage, []).append(Sample(at_s, sent_s, latency_ms, bad, failed))
    return fresh


def _slide(window: Window, news: list[Sample] | None, horizon_s: float) -> Window:
    samples, bad = window
    gone, count = 0, len(samples)
    while gone < count and samples[gone].at_s < horizon_s:
        bad -= samples[gone].bad
        gone += 1
    if not news:
        return Window(samples[gone:], bad) if gone else window
    for sample in news:
        bad += sample.bad
    return Window((*samples[gone:], *news), bad)


def _extend_views(
    facts: Facts,
    views: Mapping[str, tuple[ProxyView, ...]],
    policy: TrafficPolicy,
    now_s: float,
    since_s: float | None,
) -> dict[str, tuple[ProxyView, ...]]:
    horizon_s, future_s = now_s - policy.recent_s, now_s + _FUTURE_S
    floor_s = horizon_s if since_s is None else max(horizon_s, since_s)
    extended = {node: tuple(v for v in views.get(node, ()) if v.at_s > floor_s) for node in facts.regions}
    for view in facts.views:
        if view.node in extended and floor_s < view.at_s <= future_s:
            extended[view.node] = (*extended[view.node], view)
    return extended


def since(window: Window, begin_s: float) -> tuple[Sample, ...]:
    """The samples that ended after that moment."""
    return window.samples[bisect_right(window.samples, begin_s, key=_ended_s) :]


def streak(samples: tuple[Sample, ...]) -> tuple[int, float]:
    """How many of the last samples are bad without a break, and the time they cover from first sent to last ended."""
    first = len(samples)
    while first > 0 and samples[first - 1].bad:
        first -= 1
    if first == len(samples):
        return 0, 0.0
    return len(samples) - first, samples[-1].at_s - samples[first].sent_s


def bad_span_s(samples: tuple[Sample, ...]) -> float:
    """From the sending of the first bad sample to the end of the last one."""
    bad = [s for s in samples if s.bad]
    return bad[-1].at_s - bad[0].sent_s if bad else 0.0


def bad_share(samples: tuple[Sample, ...]) -> float:
    """Share of bad samples; 0 when there are none."""
    return [s.bad for s in samples].count(True) / len(samples) if samples else 0.0


def p50_ms(samples: tuple[Sample, ...]) -> float:
    """Median latency with the distance subtracted; 0 when there are no samples."""
    return median(s.latency_ms for s in samples) if samples else 0.0


def _ended_s(sample: Sample) -> float:
    return sample.at_s
