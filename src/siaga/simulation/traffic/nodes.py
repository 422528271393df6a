"""Simulated nodes: how each would answer at any moment, given the faults that befall it."""

from __future__ import annotations

from random import Random

from siaga.simulation.traffic.scenario import AILMENTS, Fault, Kind, Mode, Scenario

NEVER_S = 1e9
_UNDER_LOAD_PERCENT = 10
_OUTAGE_MS = 150.0
REMOTE_MS = 160.0
"""Round trip between two regions."""


class Nodes:
    """The truth that probes and the data plane see through their own eyes."""

    def __init__(self, scenario: Scenario, rng: Random) -> None:
        self.scenario = scenario
        self.names = tuple(scenario.regions)
        self._rng = rng
        self.base_ms = {name: 10.0 + 7.0 * n for n, name in enumerate(self.names)}
        self.weights = dict.fromkeys(self.names, 100)
        self.ailing: dict[str, list[Fault]] = {}
        """Faults of each ailing node, those of the last seconds included."""
        self.cold_s = dict.fromkeys(self.names, 0.0)
        self.well_since_s = dict.fromkeys(self.names, 0.0)
        self.ailed_last_s = dict.fromkeys(self.names, -NEVER_S)
        """When a fault of its own last made a node bad."""
        self.blips: dict[str, list[Fault]] = {name: [] for name in self.names}
        self.is_outage = False

    def advance(self, present: list[Fault], now_s: float, step_s: float) -> None:
        """Move to `now_s` with the faults that are present then."""
        self.ailing = {}
        self.is_outage = any(f.kind is Kind.SHARED_OUTAGE and f.bad_at(now_s) for f in present)
        for fault in present:
            if fault.kind not in AILMENTS:
                continue
            for name in fault.nodes:
                self.ailing.setdefault(name, []).append(fault)
                if fault.cold_s and fault.bad_at(now_s):
                    self.cold_s[name] = fault.cold_s
        for name, cold_s in self.cold_s.items():
            if cold_s and self.weights[name] and not self._down(name, now_s):
                self.cold_s[name] = max(0.0, cold_s - step_s)
        for name in self.names:
            if name in self.ailing or self._cold(name):
                self._note(name, now_s)

    def _note(self, name: str, now_s: float) -> None:
        faults = self.ailing.get(name, ())
        if self._cold(name) or any(f.begin_s <= now_s < f.end_s for f in faults):
            self.well_since_s[name] = now_s
        own = [f for f in faults if f.kind not in (Kind.BLIP, Kind.SHARED_SLOW)]
        if self._cold(name) or any(self._applies(f, name, now_s) or f.is_quick_at(now_s) for f in own):
            self.ailed_last_s[name] = now_s
        for fault in faults:
            if fault.kind is Kind.BLIP and fault not in self.blips[name]:
                self.blips[name].append(fault)

    def _down(self, name: str, at_s: float) -> bool:
        return any(f.bad_at(at_s) and f.mode in (Mode.ERROR, Mode.HANG) for f in self.ailing.get(name, ()))

    def _cold(self, name: str) -> bool:
        return self.cold_s[name] > 0.0 and self.weights[name] > 0

    def _applies(self, fault: Fault, name: str, at_s: float) -> bool:
        return fault.bad_at(at_s) and (fault.kind is not Kind.UNDER_LOAD or self.weights[name] >= _UNDER_LOAD_PERCENT)

    @property
    def is_cold(self) -> bool:
        """Some node has yet to warm up."""
        return any(self.cold_s.values())

    def suffers(self, name: str, at_s: float) -> list[Fault]:
        """The faults that hurt its users at that moment."""
        return [f for f in self.ailing.get(name, ()) if self._applies(f, name, at_s)]

    def is_bad(self, name: str, at_s: float) -> bool:
        """Some of its users would suffer at that moment."""
        return self._cold(name) or bool(self.suffers(name, at_s))

    def is_quiet(self, name: str) -> bool:
        """Nothing is wrong now nor was lately; a fault under load sleeps while nobody comes."""
        return not self._cold(name) and all(
            f.kind is Kind.UNDER_LOAD and self.weights[name] == 0 for f in self.ailing.get(name, ())
        )

    def failing_share(self, name: str, begin_s: float, end_s: float, per_try_ms: float) -> float:
        """Share of users' requests between two moments that failed or missed the per-try time-out."""
        if self._cold(name):
            return 1.0
        faults = self.ailing.get(name)
        if not faults:
            return 0.0
        moments = [begin_s + (end_s - begin_s) * (n + 0.5) / 5 for n in range(5)]
        return sum(self._share_at(name, at_s, per_try_ms) for at_s in moments) / 5

    def _share_at(self, name: str, at_s: float, per_try_ms: float) -> float:
        shares = [
            f.share
            for f in self.ailing[name]
            if self._applies(f, name, at_s)
            and (f.mode is not Mode.HANG or (f.bad_until_s(at_s) - at_s) * 1000 > per_try_ms)
        ]
        return max(shares, default=0.0)

    def fails_livez(self, name: str, at_s: float) -> bool:
        """The active health check fails at that moment."""
        return any(self._applies(f, name, at_s) and not f.is_livez_clean for f in self.ailing.get(name, ()))

    def answer(self, name: str, sent_s: float) -> tuple[Mode, float]:
        """How a request sent then ends: GOOD, NONE for the outage answer or ERROR; and after how many ms."""
        latency_ms = self.base_ms[name]
        if self._cold(name):
            latency_ms += 900.0
        for fault in self.ailing.get(name, ()):
            if not self._applies(fault, name, sent_s) or (fault.share < 1.0 and self._rng.random() >= fault.share):
                continue
            if fault.mode is Mode.ERROR:
                return Mode.ERROR, 2.0
            if fault.mode is Mode.HANG:
                latency_ms = max(latency_ms, (fault.bad_until_s(sent_s) - sent_s) * 1000 + self.base_ms[name])
            else:
                latency_ms = max(latency_ms, self.base_ms[name] + fault.extra_ms)
        if self.is_outage:
            return Mode.NONE, max(latency_ms, _OUTAGE_MS)
        return Mode.GOOD, latency_ms
