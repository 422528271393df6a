"""How often people did what a clause advised: the score by which its mode may be moved up (decision 3, pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from siaga.sop.clauses import ClauseId

TIME_LIMIT = timedelta(minutes=15)
"""What people do later than this is no answer to the advice."""


class Answer(StrEnum):
    """What people did."""

    AGREED = "agreed"
    OTHERWISE = "did something else"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Advice:
    """What a clause in mode `advise` would have done."""

    id: str
    clause: ClauseId
    decision: str
    """The act, such as `drain`."""
    target: str
    """What it would be done to, such as `sgp-1`."""
    at: datetime
    reason: str = ""
    time_limit: timedelta = TIME_LIMIT


@dataclass(frozen=True, slots=True)
class Deed:
    """What a person did."""

    clause: ClauseId
    decision: str
    target: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Answered:
    """An advice with what came of it."""

    advice: Advice
    answer: Answer
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """Advice that was answered, counted."""

    agreed: int = 0
    otherwise: int = 0
    nothing: int = 0

    @property
    def count(self) -> int:
        """All of it."""
        return self.agreed + self.otherwise + self.nothing

    @property
    def share_agreed(self) -> float | None:
        """Of all that was given, what people left undone included; None before the first."""
        return self.agreed / self.count if self.count else None


def settle(
    open_advice: Sequence[Advice], deeds: Iterable[Deed], now: datetime
) -> tuple[tuple[Advice, ...], tuple[Answered, ...]]:
    """Part what is still open from what was answered, or left without an answer for too long.

    The first deed upon the same target decides; each deed answers one advice, the oldest.
    """
    unused = sorted(deeds, key=lambda deed: deed.at)
    still_open: list[Advice] = []
    answered: list[Answered] = []
    for advice in sorted(open_advice, key=lambda a: a.at):
        deed = next((d for d in unused if _answers(d, advice)), None)
        if deed is not None:
            unused.remove(deed)
            answer = Answer.AGREED if deed.decision == advice.decision else Answer.OTHERWISE
            answered.append(Answered(advice, answer, deed.actor))
        elif now > advice.at + advice.time_limit:
            answered.append(Answered(advice, Answer.NOTHING))
        else:
            still_open.append(advice)
    return tuple(still_open), tuple(answered)


def counted(scores: Mapping[ClauseId, Score], answered: Iterable[Answered]) -> dict[ClauseId, Score]:
    """The scores by clause with more answers in them."""
    after = dict(scores)
    for one in answered:
        score = after.get(one.advice.clause, Score())
        after[one.advice.clause] = Score(
            agreed=score.agreed + (one.answer is Answer.AGREED),
            otherwise=score.otherwise + (one.answer is Answer.OTHERWISE),
            nothing=score.nothing + (one.answer is Answer.NOTHING),
        )
    return after


def _answers(deed: Deed, advice: Advice) -> bool:
    same = deed.clause is advice.clause and deed.target == advice.target
    return same and advice.at <= deed.at <= advice.at + advice.time_limit
