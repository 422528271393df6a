"""The runbooks that are killed at every moment. Each act leaves a mark in a file, as a target with keys would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runbooks.kill_matrix import Case, Ledger

from siaga.errors import Refused
from siaga.runbooks.model import NOTHING_TO_UNDO, Act, Approval, Check, Clock, Context, Document, Runbook, Step
from siaga.sop.clauses import ClauseId

SOON_S = 30.0


@dataclass(frozen=True)
class Target:
    """Takes every effect once per key, as a payment service would."""

    case: Case

    @property
    def _effects(self) -> Ledger:
        return Ledger(self.case.directory / "effects.jsonl")

    @property
    def effects(self) -> list[str]:
        return [entry["key"] for entry in self._effects.read()]

    def act(self, name: str) -> Act:
        async def act(context: Context) -> Document:
            if context.key not in self.effects:
                self._effects.write(key=context.key)
            self.case.moment(f"in act {name}, after its effect")
            return {"place": self.effects.index(context.key)}

        return act

    def undo(self, name: str) -> Act:
        async def undo(context: Context) -> None:
            if context.key not in self.effects:
                self._effects.write(key=context.key)
            self.case.moment(f"in undo {name}, after its effect")

        return undo

    @property
    def check(self) -> Check:
        async def check(context: Context) -> bool:
            return context.key in self.effects

        return check

    def step(self, name: str, *, checked: bool = True, last: bool = False) -> Step:
        check: Mapping[str, Check] = {"check": self.check} if checked else {}
        return Step(name, self.act(name), self.undo(name), SOON_S, point_of_no_return=last, **check)


async def refused(_: Context) -> None:
    """A rule says no: no further attempt would help."""
    raise Refused("the test says no", hint="There is none.")


def _runbook(*steps: Step | Approval) -> Runbook:
    return Runbook("killed", ClauseId.SUM, "is killed again and again", steps, clocks=(Clock("P1", 0.001, "two"),))


def straight(case: Case) -> Runbook:
    """Ends done; a result that a later step needs survives."""
    target = Target(case)

    async def needs(context: Context) -> Document:
        assert context.results["two"]["place"] == 1
        return await target.act("four")(context) or {}

    four = Step("four", needs, NOTHING_TO_UNDO, SOON_S)
    return _runbook(target.step("one"), target.step("two", checked=False), target.step("three", last=True), four)


def turned_back(case: Case) -> Runbook:
    """Fails before any point of no return, and is undone."""
    target = Target(case)
    fails = Step("three", refused, target.undo("three"), SOON_S)
    return _runbook(target.step("one"), target.step("two", checked=False), fails)


def asked(case: Case) -> Runbook:
    """Two people approve."""
    target = Target(case)
    return _runbook(target.step("one"), Approval("two people agree", 600.0, people=2), target.step("two"))


def called(case: Case) -> Runbook:
    """Fails after the point of no return, and a person goes on."""
    target = Target(case)
    return _runbook(target.step("one", last=True), Step("two", refused, NOTHING_TO_UNDO, SOON_S), target.step("three"))


def stuck(case: Case) -> Runbook:
    """Its undo fails, and a person gives up."""
    target = Target(case)
    return _runbook(
        target.step("one"),
        Step("two", target.act("two"), refused, SOON_S),
        Step("three", refused, NOTHING_TO_UNDO, SOON_S),
    )


Listed = tuple[Callable[[Case], Runbook], tuple[tuple[str, str], ...], str]
LISTED: dict[str, Listed] = {
    "straight": (straight, (), "done"),
    "turned back": (turned_back, (), "undone"),
    "asked": (asked, (("approve", "ana"), ("approve", "budi")), "done"),
    "cancelled": (asked, (("approve", "ana"), ("cancel", "two people agree")), "undone"),
    "called": (called, (("decide", "go-on"),), "done"),
    "stuck": (stuck, (("decide", "give-up"),), "given up"),
}
"""By name: the runbook, what people answer, how it ends. Later runbooks are covered by a line here."""
