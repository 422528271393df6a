"""What the journal means for DRP-3.2b."""

from __future__ import annotations

from typing import Any

import pytest

from siaga.journal.adherence import standing
from siaga.sop.adherence import Adherence

STREAMING: dict[str, Any] = {"state": "streaming", "why": "", "time_s": 1_795_000_000.0, "lag_s": 0.2, "gaps": []}


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Adherence.HOLDS),
        ({"lag_s": 11.0}, Adherence.AT_RISK),
        ({"state": "stopped", "why": "column `amount` changed its type"}, Adherence.AT_RISK),
        ({"gaps": [{"why": "the slot was lost"}]}, Adherence.BROKEN),
    ],
)
def test_only_a_journal_without_gaps_that_keeps_up_holds(change: dict[str, Any], expected: Adherence) -> None:
    assert standing({**STREAMING, **change}).adherence is expected


@pytest.mark.clause("DRP-3.2b")
def test_a_consumer_that_says_nothing_is_not_measured() -> None:
    found = standing({"state": "not measured", "why": "the consumer has said nothing yet"})
    assert (found.adherence, found.observed_at) == (Adherence.NOT_MEASURED, None)
