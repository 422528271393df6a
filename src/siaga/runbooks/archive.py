"""Runs as the journal tells them, and words for them, with or without an engine beside it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from siaga.errors import BadInput, Refused
from siaga.runbooks import describe, words
from siaga.runbooks.dbos import ABANDONED, FAILED, JOURNAL_VERSION, Reader, Row
from siaga.runbooks.journal import Journal
from siaga.runbooks.model import Document, Runbook
from siaga.runbooks.order import Order, from_document
from siaga.runbooks.plan import shadow
from siaga.runbooks.run import Choice, Outcome, Phase, RunState, fold
from siaga.runbooks.words import Word

LISTED_MAX = 200


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands, and the runbook to judge it by."""

    order: Order
    runbook: Runbook
    state: RunState
    trouble: str = ""
    """Why no engine can go on with it; empty when one can."""
    held: str = ""
    progress: str = ""


class Archive:
    """Reads runs from the journal, and writes words into it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._reader = Reader(journal)

    def rows(self, statuses: Sequence[str]) -> list[Row]:
        """Runs of these statuses, as DBOS lists them."""
        return self._reader.rows(statuses=statuses)

    def find(self, run: str) -> Row | None:
        """One run, as DBOS lists it."""
        rows = self._reader.rows(run=run)
        return rows[0] if rows else None

    def lines(self, now: float, live: Mapping[str, Standing], count_max: int = LISTED_MAX) -> list[dict[str, Any]]:
        """The newest runs, one line each; those that are under way here by what their engine knows."""
        return [self._line(row, now, live.get(row.run)) for row in self._reader.rows(count_max=count_max)]

    def _line(self, row: Row, now: float, standing: Standing | None) -> dict[str, Any]:
        if row.output:
            return dict(row.output)
        standing = standing or self._stand(row)
        if standing is None:
            return {"id": row.run, "state": "failed", "why": f"the journal's row is not readable: {row.error}"}
        return line(standing, now)

    def page(self, run: str, now: float) -> dict[str, Any]:
        """Everything about one run; BadInput when there is no such run."""
        return page(self.standing(run), now)

    def standing(self, run: str) -> Standing:
        """Where one run stands; BadInput when there is no such run."""
        row = self.find(run)
        standing = self._stand(row) if row is not None else None
        if standing is not None:
            return standing
        if row is not None:
            raise Refused(
                f"the journal's row of run `{run}` is not readable: {row.error}",
                hint="It was not written by siaga; its evidence is in `siaga evidence show`.",
            )
        near = get_close_matches(run, [row.run for row in self._reader.rows(count_max=LISTED_MAX)], n=1)
        raise BadInput(
            f"there is no run `{run}`", hint=f"Did you mean `{near[0]}`?" if near else "`siaga runs list` shows them."
        )

    def _stand(self, row: Row) -> Standing | None:
        try:
            order = from_document(row.order)
            runbook = shadow(order.plan)
        except (KeyError, TypeError, ValueError):
            return None
        state = functools.reduce(fold, self._reader.events(row.run), RunState(steps=order.steps))
        if row.status in ABANDONED:
            why = "given up while no engine could go on with it"
            state = replace(state, phase=Phase.ENDED, outcome=Outcome.GIVEN_UP, why=why)
        return Standing(order, runbook, state, trouble=_trouble(row))

    def approve(self, standing: Standing, actor: str, ticket: str, now: float) -> dict[str, Any]:
        """Say yes to what is asked for now."""
        asked = words.open_approval(standing.runbook, standing.state)
        step = asked.name if asked is not None else ""
        said = self._say(standing, words.APPROVE, actor, {"step": step, "ticket": ticket}, now)
        given = standing.state.approvals[step].given
        wanted = asked.people if asked is not None else 0
        return said | {"step": step, "still_wanted": max(0, wanted - len(given) - 1)}

    def decide(self, standing: Standing, actor: str, choice: str, reason: str, now: float) -> dict[str, Any]:
        """Decide what the run waits for."""
        if standing.trouble and choice == Choice.GIVE_UP:
            self._abandon(standing, actor, reason, now)
            return {"run": standing.order.run, "kind": words.DECIDE, "actor": actor, "choice": choice}
        question = standing.state.wait.number if standing.state.wait is not None else 0
        body = {"choice": choice, "reason": reason, "question": question}
        return self._say(standing, words.DECIDE, actor, body, now) | {"choice": choice}

    def cancel(self, standing: Standing, actor: str, reason: str, now: float) -> dict[str, Any]:
        """Ask the run to go back."""
        return self._say(standing, words.CANCEL, actor, {"reason": reason}, now)

    def _say(self, standing: Standing, kind: str, actor: str, body: Document, now: float) -> dict[str, Any]:
        """Say something to a run; it takes notice of it when it is carried on. Refused when it would not count."""
        word = Word(0, standing.order.run, kind, actor, now, body)
        against = words.objection(standing.order, standing.runbook, standing.state, word)
        if against:
            run = standing.order.run
            raise Refused(f"run `{run}`: {against}", hint=f"`siaga runs show {run}` shows where it stands.")
        if not self._write(standing, word):
            run = standing.order.run
            raise Refused(f"run `{run}`: that was said before", hint=f"`siaga runs show {run}` shows what came of it.")
        return {"run": standing.order.run, "kind": kind, "actor": actor}

    def _abandon(self, standing: Standing, actor: str, reason: str, now: float) -> None:
        """Give up a run that no engine of this version can go on with; recorded at the next launch."""
        self._write(standing, Word(0, standing.order.run, words.ABANDON, actor, now, {"reason": reason}))
        self._reader.abandon(standing.order.run)

    def _write(self, standing: Standing, word: Word) -> bool:
        return self._journal.say(word, words.key(standing.order, standing.state, word))


def _trouble(row: Row) -> str:
    if row.is_open:
        strange = row.version != JOURNAL_VERSION
        return f"it was begun by a siaga with journal version {row.version}" if strange else ""
    return f"the engine failed: {row.error or row.status}" if row.status in FAILED else ""


def line(standing: Standing, now: float) -> dict[str, Any]:
    """One line of `siaga runs list`."""
    found = describe.summary(standing.order, standing.runbook, standing.state, now, standing.held)
    return found | _failure(standing)


def page(standing: Standing, now: float) -> dict[str, Any]:
    """Everything about a run."""
    found = describe.show(standing.order, standing.runbook, standing.state, now, standing.held, standing.progress)
    return found | _failure(standing)


def _failure(standing: Standing) -> dict[str, Any]:
    if not standing.trouble or standing.state.phase is Phase.ENDED:
        return {}
    return {"state": "failed", "why": standing.trouble}
