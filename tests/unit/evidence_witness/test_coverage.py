"""What `siaga sop` says of the evidence: holds, at risk, broken, or not measured, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from siaga.evidence.coverage import INTERVAL_S, Coverage, due, standing
from siaga.sop.adherence import Adherence
from siaga.sop.clauses import ClauseId

pytestmark = pytest.mark.clause("SUM")

NOON = datetime(2026, 11, 25, 5, tzinfo=UTC)
COVERED = Coverage(records=40, witnessed=40, uncovered_s=0, away_s=1)
LIMIT_S = 3 * INTERVAL_S


def judged(coverage: Coverage) -> tuple[Adherence, str]:
    found = standing(coverage, NOON, valid_s=60)
    assert (found.clause, found.part, found.observed_at) == (ClauseId.SUM, "evidence", NOON)
    return found.adherence, found.why


def test_it_holds_while_the_witness_has_cosigned_what_is_due() -> None:
    assert judged(COVERED)[0] is Adherence.HOLDS
    assert judged(replace(COVERED, records=99, uncovered_s=LIMIT_S))[0] is Adherence.HOLDS
    assert standing(COVERED, NOON, valid_s=60).figure == "40 of 40 records witnessed"


def test_records_that_wait_too_long_put_it_at_risk() -> None:
    adherence, why = judged(replace(COVERED, records=42, uncovered_s=LIMIT_S + 1, trouble="the disk is full"))
    assert adherence is Adherence.AT_RISK
    assert why == "2 records not witnessed, the oldest for 181 s: the disk is full"


def test_a_witness_that_is_away_puts_it_at_risk_even_when_nothing_is_recorded() -> None:
    adherence, why = judged(replace(COVERED, away_s=LIMIT_S + 1, trouble="it does not answer"))
    assert adherence is Adherence.AT_RISK
    assert why == "no answer from the witness for 181 s: it does not answer"


def test_a_refusal_breaks_it_whatever_else_is_well() -> None:
    refused = replace(COVERED, refused="the witness refuses (fork)", away_s=LIMIT_S + 1)
    assert judged(refused) == (Adherence.BROKEN, "the witness refuses (fork)")


def test_a_copy_that_failed_puts_it_at_risk() -> None:
    assert judged(replace(COVERED, not_copied="no room"))[0] is Adherence.AT_RISK


def test_before_the_first_checkpoint_nothing_is_measured() -> None:
    assert judged(Coverage(records=3, witnessed=0, uncovered_s=5, away_s=0))[0] is Adherence.NOT_MEASURED


@pytest.mark.parametrize(
    ("coverage", "since_signed_s", "expected"),
    [
        (COVERED, INTERVAL_S, False),
        (replace(COVERED, records=41), INTERVAL_S, True),
        (replace(COVERED, records=41), INTERVAL_S - 1, False),
        (replace(COVERED, records=39), INTERVAL_S, True),
        (replace(COVERED, refused="fork"), INTERVAL_S, True),
        (replace(COVERED, records=41), float("inf"), True),
    ],
)
def test_a_checkpoint_is_due_once_an_interval_if_anything_changed(
    coverage: Coverage, since_signed_s: float, expected: bool
) -> None:
    assert due(coverage, since_signed_s=since_signed_s) is expected
