"""Which entries of an account are at fault: where its walk from entry to entry breaks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from siaga.ledger.accumulators import unscaled
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import EntryFault, Fault, Figures


@dataclass(frozen=True, slots=True)
class Step:
    """An entry where an account's walk breaks, begins or ends, with what came before it."""

    account: str | None
    currency: str | None
    id: str | None
    transaction: str | None
    sequence: int | None
    amount: int | None
    before: int | None
    """What its balance before must have been; None where the ledger keeps no running balance."""
    after: int | None
    previous_sequence: int | None
    """None: the first entry."""
    previous_after: int | None
    last: bool
    unreadable: bool


def faults(figures: Figures, steps: Sequence[Step], ledger_map: LedgerMap, decimals: int) -> list[EntryFault]:
    """The entries of one account where its walk breaks, in the order of their sequence."""
    first = ledger_map.entries.first_sequence
    found: list[EntryFault] = []
    broken: list[Break] = []
    stray: Break | None = None
    before: Break | None = None
    for place, step in enumerate(steps):
        follower = steps[place + 1] if place + 1 < len(steps) else None
        previous = step.previous_sequence if step.previous_sequence is not None else first - 1
        here = Break(step, _left(step, figures, stray))
        if step.unreadable or step.sequence is None or step.amount is None:
            found.append(_fault(step, Fault.UNREADABLE, "a value that an entry cannot have (NULL, NaN, too precise)"))
        elif step.sequence <= previous:
            twin = before if before is not None and before.step.sequence == step.sequence else None
            if twin is not None and _fits(twin.left, step, follower, figures) > _twin_fits(twin, follower, figures):
                broken = [b for b in broken if b is not twin]
                found.append(_extra(twin.step))
                here = Break(step, twin.left)
                broken += [here] if step.before != here.left else []
            else:
                stray = Break(step, twin.step.after if twin is not None else here.left)
                found.append(_extra(step))
        elif step.sequence > previous + 1:
            found.append(_gap(previous + 1, step.sequence - 1, step.before, here.left, decimals))
        elif step.before is not None and step.before != here.left:
            broken.append(here)
        elif step.before is not None and step.after is not None and step.before + step.amount != step.after:
            right = step.before + step.amount
            if right == _begins_with(step, follower, figures):
                found.append(_altered_balance(here, decimals))
                stray = Break(step, right)
            else:
                found.append(_altered_amount(here, decimals))
        before = here
    last = next((step for step in steps if step.last), None)
    found += _breaks(figures, broken, last, decimals)
    found += _ending(figures, steps, first, decimals)
    return sorted(found, key=lambda fault: (fault.sequence is None, fault.sequence or 0))


@dataclass(frozen=True, slots=True)
class Break:
    """A step, and the balance that it should have begun with."""

    step: Step
    left: int | None
    """By the entry before it, or the opening balance."""


def _left(step: Step, figures: Figures, stray: Break | None) -> int | None:
    """`stray`: an entry whose balance after does not count, and the balance that does."""
    if step.previous_sequence is None:
        return figures.opening
    follows_stray = stray is not None and (step.previous_sequence, step.previous_after) == (
        stray.step.sequence,
        stray.step.after,
    )
    # An entry too many moves nothing: what counts is what was there before it. Of an altered balance, the true one.
    return stray.left if stray is not None and follows_stray else step.previous_after


def _begins_with(step: Step, follower: Step | None, figures: Figures) -> int | None:
    """The balance that what comes after an entry begins with; None where it is not listed: there it follows."""
    if step.last:
        return figures.balance
    follows = follower is not None and follower.previous_sequence == step.sequence
    return follower.before if follower is not None and follows else None


def _fits(left: int | None, second: Step, follower: Step | None, figures: Figures) -> int:
    """How well the second of two entries with one sequence fits its place, on either side.

    The follower is listed only where it does not follow from the second, or is the account's last entry.
    """
    if second.last:
        return (second.before == left) + (second.after == figures.balance)
    follows = follower is None or follower.previous_after != second.after or follower.before == second.after
    return (second.before == left) + follows


def _twin_fits(twin: Break, follower: Step | None, figures: Figures) -> int:
    """The same of the first of them."""
    after = figures.balance if follower is None else follower.before
    return (twin.step.before == twin.left) + (twin.step.after == after)


def _extra(step: Step) -> EntryFault:
    return _fault(step, Fault.EXTRA, f"sequence {step.sequence} is taken, or too early")


def _gap(first: int, last: int, before: int | None, previous_after: int | None, decimals: int) -> EntryFault:
    which = f"entry {first} is" if first == last else f"entries {first} to {last} are"
    moved = ""
    if before is not None and previous_after is not None:
        moved = f"; together they moved {unscaled(before - previous_after, decimals)}"
    return EntryFault(Fault.MISSING, f"{which} missing{moved}", sequence=first)


def _altered_amount(here: Break, decimals: int) -> EntryFault:
    step, left = here.step, here.left
    assert left is not None and step.amount is not None and step.after is not None, "asked before"
    return _fault(
        step,
        Fault.ALTERED,
        "amount and running balance disagree, here or in the entry before it",
        found=f"amount {unscaled(step.amount, decimals)}, balance after {unscaled(step.after, decimals)}",
        expected=f"amount {unscaled(step.after - left, decimals)}, "
        f"or balance after {unscaled(left + step.amount, decimals)}",
    )


def _breaks(figures: Figures, broken: Sequence[Break], last: Step | None, decimals: int) -> list[EntryFault]:
    """Entries whose balance before is not what the entry before them left.

    Where the stretches between breaks fit together in another order, entries are out of order. Else one that breaks
    alone has a wrong amount, or follows an entry that was altered as a whole; one whose successor breaks too has a
    wrong balance.
    """
    by_number = {here.step.sequence: here for here in broken}
    moved = _relinked(broken, last)
    if moved:
        return [
            _fault(
                here.step,
                Fault.OUT_OF_ORDER,
                "its running balance belongs elsewhere",
                found=f"sequence {here.step.sequence}",
                expected=f"sequence {place}",
            )
            for here, place in moved
        ]
    found: list[EntryFault] = []
    explained: set[int | None] = set()
    for here in broken:
        step, left = here.step, here.left
        if step.sequence in explained:
            continue
        assert left is not None and step.amount is not None, "a break has both sides"
        successor = by_number.get(_next(here))
        if successor is not None and successor.step.before == left + step.amount:
            explained.add(successor.step.sequence)
            found.append(_altered_balance(here, decimals))
        elif step.after == left + step.amount:
            found.append(_altered_before(here, decimals))
        elif step.last and figures.balance == left + step.amount:
            found.append(_altered_balance(here, decimals))
        else:
            found.append(_altered_amount(here, decimals))
    return found


def _relinked(broken: Sequence[Break], last: Step | None) -> list[tuple[Break, int]]:
    """The entries that stand elsewhere in the one order in which each stretch begins where another ends."""
    if not broken or last is None or last.sequence is None:
        return []
    starts = [_next(here) - 1 for here in broken]
    ends = [
        *((here.left, start) for here, start in zip(broken[1:], starts[1:], strict=True)),
        (last.after, last.sequence + 1),
    ]
    left = list(zip(broken, starts, ends, strict=True))
    value, place = broken[0].left, starts[0]
    moved: list[tuple[Break, int]] = []
    while left:
        fitting = [stretch for stretch in left if stretch[0].step.before == value]
        if not fitting:
            return []
        here, start, (after, end) = min(fitting, key=lambda stretch: stretch[1] != place)
        left.remove((here, start, (after, end)))
        if start != place:
            moved.append((here, place))
        value, place = after, place + end - start
    return moved


def _altered_balance(here: Break, decimals: int) -> EntryFault:
    step, left = here.step, here.left
    assert left is not None and step.amount is not None and step.after is not None, "asked before"
    return _fault(
        step,
        Fault.ALTERED,
        "the balance after it is not what it makes of the balance before",
        found=f"balance after {unscaled(step.after, decimals)}",
        expected=f"balance after {unscaled(left + step.amount, decimals)}",
    )


def _altered_before(here: Break, decimals: int) -> EntryFault:
    step, left = here.step, here.left
    assert left is not None and step.before is not None, "asked before"
    return _fault(
        step,
        Fault.ALTERED,
        "the balance before it is not what the entry before left, though its balance after is",
        found=f"balance before {unscaled(step.before, decimals)}",
        expected=f"balance before {unscaled(left, decimals)}",
    )


def _next(here: Break) -> int:
    assert here.step.sequence is not None, "a break has a sequence"
    return here.step.sequence + 1


def _ending(figures: Figures, steps: Sequence[Step], first: int, decimals: int) -> list[EntryFault]:
    """What the account's own row says about entries after the last one."""
    ends = [step for step in steps if step.last and step.sequence is not None]
    last = max((step.sequence or 0 for step in ends), default=first - 1)
    if figures.version is not None and figures.version > last:
        before = figures.balance if any(step.after is not None for step in ends) else None
        return [_gap(last + 1, figures.version, before, ends[-1].after if ends else None, decimals)]
    if figures.version is not None and figures.version < last and ends:
        why = f"the account counts {figures.version} entries"
        return [_fault(ends[-1], Fault.EXTRA, why)]
    return []


def _fault(step: Step, fault: Fault, why: str, found: str = "", expected: str = "") -> EntryFault:
    return EntryFault(fault, why, step.sequence, step.id, step.transaction, found, expected)
