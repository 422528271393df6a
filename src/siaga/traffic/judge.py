"""Is a node bad, proven healthy, or does everything fail alike? Each vantage point votes (pure; ZDT-1.1a).

A vantage point compares a node with the clause's limit AND with the pool as it sees it. The data plane
is one more vantage point. Where it singles a node out by hundreds of requests, one good peer is enough
to compare with; otherwise the peers' median is, so that a fault shared by most is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from siaga.traffic.model import ProxyView, Sample, States, TrafficPolicy, Verdict, Window
from siaga.traffic.windows import bad_share, bad_span_s, p50_ms, since, streak


class Vote(StrEnum):
    """What one vantage point says of one node."""

    BAD = "bad"
    GOOD = "good"
    UNCLEAR = "unclear"
    BLIND = "blind"
    """Too few fresh samples."""
    ALIKE = "alike"
    """Bad, but so are the others as seen from here; says nothing about this node."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one node with the votes it rests on."""

    verdict: Verdict
    votes: Mapping[str, Vote]
    proxy: Vote = Vote.BLIND

    @property
    def seeing(self) -> int:
        """Voices that can tell: vantage points and the data plane."""
        return sum(v in _SEEING for v in (*self.votes.values(), self.proxy))

    @property
    def against(self) -> int:
        """Voices that call the node bad."""
        return sum(v is Vote.BAD for v in (*self.votes.values(), self.proxy))


@dataclass(frozen=True, slots=True)
class Pool:
    """What every vantage point sees of every node at one moment, before any comparison."""

    states: States
    regions: Mapping[str, str]
    policy: TrafficPolicy
    now_s: float
    votes: Mapping[str, Mapping[str, Vote]]
    proxy: Mapping[str, Vote]
    serving: tuple[str, ...]

    def peers(self, node: str) -> list[str]:
        """The other nodes that serve users now: whom this one is compared with."""
        return [n for n in self.serving if n != node]

    def window(self, node: str, vantage: str) -> Window:
        """Samples of a node from a vantage point that sees it."""
        return self.states.windows[node][vantage]


_SEEING = (Vote.BAD, Vote.GOOD, Vote.UNCLEAR)
_NO_OBJECTION = (Vote.GOOD, Vote.BLIND, Vote.UNCLEAR)
_ALL_GOOD = {Vote.GOOD}


def pool(states: States, regions: Mapping[str, str], policy: TrafficPolicy, now_s: float) -> Pool:
    """Every vantage point's own impression of every node."""
    votes = {
        node: {vantage: _impression(window, policy, now_s) for vantage, window in windows.items()}
        for node, windows in states.windows.items()
    }
    proxy = {node: _proxy_impression(views, policy) for node, views in states.views.items()}
    serving = tuple(n for n, s in states.nodes.items() if s.serves)
    return Pool(states, regions, policy, now_s, votes, proxy, serving)


def judge(pool: Pool) -> dict[str, Judgement]:
    """The verdict on every node."""
    return {node: _judge_node(node, votes, pool) for node, votes in pool.votes.items()}


def _judge_node(node: str, votes: Mapping[str, Vote], pool: Pool) -> Judgement:
    proxy = pool.proxy[node]
    if proxy in _NO_OBJECTION and len(votes) >= pool.policy.votes_min and set(votes.values()) == _ALL_GOOD:
        return Judgement(Verdict.HEALTHY, votes, proxy)
    if proxy is Vote.BAD:
        proxy = _proxy_compared(node, pool)
    if Vote.BAD in votes.values() and pool.states.nodes[node].serves:
        votes = {v: _compared(node, v, pool, proxy) if vote is Vote.BAD else vote for v, vote in votes.items()}
    return Judgement(_verdict(votes, proxy, pool.policy), votes, proxy)


def _verdict(votes: Mapping[str, Vote], proxy: Vote, policy: TrafficPolicy) -> Verdict:
    probes = list(votes.values())
    voices = [*probes, proxy]
    seeing = sum(v in _SEEING for v in voices)
    bad, good, alike = voices.count(Vote.BAD), voices.count(Vote.GOOD), voices.count(Vote.ALIKE)
    suspicious = sum(v in (Vote.BAD, Vote.ALIKE) for v in probes)
    if proxy is Vote.ALIKE and 2 * suspicious > len(probes):
        return Verdict.CORRELATED
    if seeing >= policy.votes_min and 2 * bad > seeing:
        return Verdict.BAD
    if 2 * alike > seeing + alike:
        return Verdict.CORRELATED
    if seeing >= policy.votes_min and 2 * good > seeing:
        return Verdict.HEALTHY
    return Verdict.UNCLEAR


def _impression(window: Window, policy: TrafficPolicy, now_s: float) -> Vote:
    samples, bad = window
    count, recent_from_s = len(samples), now_s - policy.recent_s
    if count < 2 or samples[-2].at_s <= recent_from_s:
        return Vote.BLIND
    fresh = count >= policy.good_samples_min and samples[-policy.good_samples_min].at_s > recent_from_s
    if bad == 0:
        return Vote.GOOD if fresh else Vote.UNCLEAR
    if (samples[-1].bad and is_clear(samples, policy)) or _is_gray(window, policy, recent_from_s):
        return Vote.BAD
    if fresh and not samples[-1].bad and bad <= max(1, policy.good_share_max * count):
        return Vote.GOOD
    return Vote.UNCLEAR


def is_clear(samples: tuple[Sample, ...], policy: TrafficPolicy) -> bool:
    """Bad without a break for longer than any pause for garbage collection."""
    length, covered_s = streak(samples)
    return length >= 2 and covered_s >= policy.bad_s_min


def _is_gray(window: Window, policy: TrafficPolicy, recent_from_s: float) -> bool:
    samples, bad = window
    if bad < policy.gray_share_min * len(samples):
        return False
    own = _from_first_bad(samples)
    if len(own) < policy.gray_samples_min or bad_span_s(own) < policy.gray_span_s_min:
        return False
    return next(s.at_s for s in reversed(own) if s.bad) > recent_from_s


def _compared(node: str, vantage: str, pool: Pool, proxy: Vote) -> Vote:
    """BAD if the node is also clearly worse than its peers as seen from here, else ALIKE."""
    policy = pool.policy
    samples = evidence(node, vantage, pool)
    if pool.states.nodes[node].excused_s > 0 and not is_clear(samples, policy):
        return Vote.UNCLEAR
    peers = [p for p in pool.peers(node) if pool.votes[p].get(vantage, Vote.BLIND) is not Vote.BLIND]
    if all(pool.votes[p][vantage] is Vote.BAD for p in peers):
        return Vote.ALIKE
    shares: dict[str, float] = {}
    for peer in peers:
        # What was seen of a peer from the same place in the same time: only that compares fairly.
        meanwhile = since(pool.window(peer, vantage), samples[0].sent_s)
        if meanwhile:
            shares[peer] = bad_share(meanwhile)
    singled_out = proxy is Vote.BAD and not _is_memory(pool.states.views[node])
    if singled_out:
        shares = {p: share for p, share in shares.items() if pool.votes[p][vantage] is Vote.GOOD}
    if not shares:
        return Vote.ALIKE
    reference = min(shares.values()) if singled_out else _typical(node, shares, pool)
    worse = bad_share(samples) >= policy.share_factor_min * reference + policy.share_delta_min
    return Vote.BAD if worse and _slower(samples, pool_p50_ms(shares, vantage, pool), policy) else Vote.ALIKE


def evidence(node: str, vantage: str, pool: Pool) -> tuple[Sample, ...]:
    """The samples a vote rests on: from the first bad one on, of the unbroken streak if the fault is clear."""
    samples = pool.window(node, vantage).samples
    return samples[-streak(samples)[0] :] if is_clear(samples, pool.policy) else _from_first_bad(samples)


def _from_first_bad(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    return samples[next((n for n, s in enumerate(samples) if s.bad), 0) :]


def _typical(node: str, shares: Mapping[str, float], pool: Pool) -> float:
    """The peers' median; or the median of the other regions, since a region may be lost as a whole."""
    elsewhere = [share for peer, share in shares.items() if pool.regions[peer] != pool.regions[node]]
    typical = median(shares.values())
    return min(typical, median(elsewhere)) if elsewhere else typical


def _slower(samples: tuple[Sample, ...], pool_ms: float, policy: TrafficPolicy) -> bool:
    """An answer that came, but late, must also be late beside the pool; a failure needs no comparison of latency."""
    slow = tuple(s for s in samples if s.bad and not s.failed)
    if 2 * len(slow) <= sum(s.bad for s in samples):
        return True
    slow_ms = p50_ms(slow)
    return slow_ms >= policy.latency_factor_min * pool_ms and slow_ms >= pool_ms + policy.latency_delta_ms_min


def pool_p50_ms(peers: Iterable[str], vantage: str, pool: Pool) -> float:
    """Median of the peers' median latency as seen from a vantage point; 0 without peers."""
    medians = [p50_ms(since(pool.window(p, vantage), pool.now_s - pool.policy.recent_s)) for p in peers]
    return median(medians) if medians else 0.0


def _proxy_impression(views: tuple[ProxyView, ...], policy: TrafficPolicy) -> Vote:
    if len(views) < 2:
        return Vote.BLIND
    if _flagged(views):
        return Vote.BAD
    requests, failures = sum(v.requests for v in views), sum(v.failures for v in views)
    if requests < policy.proxy_requests_min:
        return Vote.BLIND
    persists = sum(v.failures > 0 for v in views) >= 2
    if persists and failures >= policy.proxy_share_min * requests:
        return Vote.BAD
    calm = views[-1].healthy and not views[-1].ejected and failures <= policy.good_share_max * requests
    return Vote.GOOD if calm else Vote.UNCLEAR


def _flagged(views: tuple[ProxyView, ...]) -> bool:
    """The proxy has taken the node out, and not just for a moment."""
    return _fails_checks(views) or (views[-1].ejected and views[-2].ejected)


def _fails_checks(views: tuple[ProxyView, ...]) -> bool:
    return not (views[-1].healthy or views[-2].healthy)


def _is_memory(views: tuple[ProxyView, ...]) -> bool:
    """An ejection outlives its cause by 10 s and more: without new failures it says nothing about now."""
    return views[-1].healthy and sum(v.failures for v in views) == 0


def _proxy_compared(node: str, pool: Pool) -> Vote:
    """BAD if the proxy knows a peer to be better, ALIKE if it knows all of them to be as bad."""
    views = pool.states.views
    peers = [p for p in pool.peers(node) if len(views.get(p, ())) >= 2]
    if not peers:
        return Vote.BLIND
    if all(pool.proxy[p] is Vote.BAD and not _is_memory(views[p]) for p in peers):
        return Vote.ALIKE
    # Failing users and being ejected for it happen to many at once when something shared is slow, so they
    # count only beside a peer that serves its users well; failing the plain health check does not.
    if _fails_checks(views[node]) or any(pool.proxy[p] is Vote.GOOD for p in peers):
        return Vote.BAD
    return Vote.BLIND
