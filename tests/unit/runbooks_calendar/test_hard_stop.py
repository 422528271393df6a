"""Steps that ask for the time themselves: nothing is done outside the window, whenever the run wakes up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any

import pytest

from siaga.errors import Refused
from siaga.runbooks.appointments import Appointment
from siaga.runbooks.hard_stop import within_windows
from siaga.runbooks.model import NOTHING_TO_UNDO, Approval, Context, Document, Manner, Runbook, Step
from siaga.runbooks.windows import Window
from siaga.sop.clauses import ClauseId

UPDATE = Appointment(
    "update-database", "update-database", ClauseId.PMT_2_1, Window(frozenset({3}), time(3), time(4), "Asia/Jakarta")
)


@dataclass
class Here:
    """A context of a step."""

    manner: Manner = Manner.REAL
    run: str = "update-database/2026-11-25"
    key: str = "k"
    epoch: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Document] = field(default_factory=dict)

    def say(self, progress: str) -> None: ...


async def done(context: Context) -> Document:
    return {"done": True}


RUNBOOK = Runbook(
    "update-database",
    ClauseId.PMT_2_1,
    "Switch.",
    steps=(
        Step("prepare", done, NOTHING_TO_UNDO, 10),
        Approval("go", 60),
        Step("switch", done, NOTHING_TO_UNDO, 10, point_of_no_return=True),
        Step("tidy", done, NOTHING_TO_UNDO, 10),
    ),
)


def at(clock: str) -> dict[str, Step | Approval]:
    now = datetime.fromisoformat(f"2026-11-25T{clock}+07:00").astimezone(UTC)
    return {step.name: step for step in within_windows(RUNBOOK, [UPDATE], lambda: now).steps}


async def act(step: Step | Approval, manner: Manner = Manner.REAL) -> Document | None:
    assert isinstance(step, Step)
    return await step.act(Here(manner))


@pytest.mark.clause("PMT-2.1")
@pytest.mark.parametrize("clock", ["02:59:59", "03:55:00", "05:00:00"])
async def test_a_run_that_wakes_up_outside_its_window_does_nothing_up_to_its_point_of_no_return(clock: str) -> None:
    for name in ("prepare", "switch"):
        with pytest.raises(Refused, match="outside its window, Wednesday 03:00-04:00 Asia/Jakarta"):
            await act(at(clock)[name])


async def test_after_its_point_of_no_return_it_goes_forward_whatever_the_time() -> None:
    assert await act(at("05:00")["tidy"]) == {"done": True}


async def test_inside_the_window_and_in_drills_every_step_is_done() -> None:
    for name in ("prepare", "switch", "tidy"):
        assert await act(at("03:54:59")[name]) == {"done": True}
        assert await act(at("12:00")[name], Manner.DRILL) == {"done": True}


def test_names_and_order_stay_and_a_runbook_without_a_window_is_left_alone() -> None:
    assert list(at("03:00")) == [step.name for step in RUNBOOK.steps]
    assert within_windows(RUNBOOK, [], lambda: datetime.now(UTC)) is RUNBOOK
