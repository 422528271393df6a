"""A simulated data plane: spreads the users, ejects what fails them, and tells what it saw."""

from __future__ import annotations

from random import Random

from siaga.simulation.traffic.nodes import Nodes
from siaga.traffic.model import ProxyView

_PER_TRY_MS = 240.0
_EJECT_SHARE = 0.15
_EJECT_REQUESTS_MIN = 10
_EJECTION_S = 10.0
_EJECTION_S_MAX = 30.0
_REVIVAL_S = 1.25
"""Five good health checks, a quarter of a second apart."""


class Proxy:
    """Outlier ejection and active health checks as measured of Envoy (research, sections 5 and 6)."""

    def __init__(self, nodes: Nodes, rng: Random) -> None:
        self._nodes = nodes
        self._rng = rng
        self._ejected_until_s = dict.fromkeys(nodes.names, 0.0)
        self._ejections = dict.fromkeys(nodes.names, 0)
        self._sick_until_s = dict.fromkeys(nodes.names, 0.0)

    def is_out(self, name: str, at_s: float) -> bool:
        """The proxy sends nobody there, whatever the weight."""
        return self._ejected_until_s[name] > at_s or self._sick_until_s[name] > at_s

    def is_quiet(self, at_s: float) -> bool:
        """Nothing is out."""
        return not any(self.is_out(name, at_s) for name in self._nodes.names)

    def observe(self, begin_s: float, end_s: float) -> list[ProxyView]:
        """Serve users between two moments, then tell of every node."""
        users = self._spread(begin_s, end_s - begin_s)
        views = []
        for name in self._nodes.names:
            share = self._nodes.failing_share(name, begin_s, end_s, _PER_TRY_MS) if users[name] else 0.0
            failures = self._failures(users[name], share)
            self._health_check(name, begin_s, end_s)
            if users[name] >= _EJECT_REQUESTS_MIN and failures >= _EJECT_SHARE * users[name]:
                self._eject(name, end_s)
            ejected = self._ejected_until_s[name] > end_s
            healthy = self._sick_until_s[name] <= end_s
            views.append(ProxyView(name, end_s, ejected, healthy, users[name], failures))
        return views

    def _spread(self, at_s: float, span_s: float) -> dict[str, int]:
        users = dict.fromkeys(self._nodes.names, 0.0)
        by_region: dict[str, list[str]] = {}
        for name, region in self._nodes.scenario.regions.items():
            if self._nodes.weights[name] and not self.is_out(name, at_s):
                by_region.setdefault(region, []).append(name)
        for region in self._nodes.scenario.region_names:
            takers = by_region.get(region) or next(iter(by_region.values()), [])
            whole = sum(self._nodes.weights[n] for n in takers)
            for name in takers:
                users[name] += self._nodes.scenario.users_per_s * span_s * self._nodes.weights[name] / whole
        return {name: int(count) for name, count in users.items()}

    def _failures(self, users: int, share: float) -> int:
        if share in (0.0, 1.0):
            return int(users * share)
        return sum(self._rng.random() < share for _ in range(users))

    def _health_check(self, name: str, begin_s: float, end_s: float) -> None:
        if self._nodes.fails_livez(name, begin_s) and self._nodes.fails_livez(name, (begin_s + end_s) / 2):
            self._sick_until_s[name] = end_s + _REVIVAL_S

    def _eject(self, name: str, at_s: float) -> None:
        region = self._nodes.scenario.regions[name]
        peers = [n for n, r in self._nodes.scenario.regions.items() if r == region]
        out = sum(self._ejected_until_s[n] > at_s for n in peers)
        if out and 3 * (out + 1) > len(peers):  # At most a third, and always one.
            return
        self._ejections[name] += 1
        self._ejected_until_s[name] = at_s + min(_EJECTION_S_MAX, _EJECTION_S * self._ejections[name])


def shifted_view(view: ProxyView, shift_s: float) -> ProxyView:
    """The same view dated otherwise."""
    return ProxyView(view.node, view.at_s + shift_s, view.ejected, view.healthy, view.requests, view.failures)
