"""What the witness cosigns, and what it never does: judged over real trees of every shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siaga.evidence.cosigning import REMEMBERED, NotCosigned, Refusal, Seen, judge
from siaga.evidence.keys import SigningKey
from siaga.evidence.notes import Handover, log_checkpoint, written

pytestmark = pytest.mark.clause("SUM")

MakeLog = Callable[..., Any]


def seen_of(log: Any, size: int) -> Seen:
    return Seen(log_checkpoint(log.note(size), log.key.public), log.key.public)


def refusal(verdict: Seen | NotCosigned) -> Refusal:
    assert isinstance(verdict, NotCosigned), "it was cosigned"
    return verdict.refusal


@settings(max_examples=60, deadline=None)
@given(sizes=st.tuples(st.integers(1, 40), st.integers(0, 40)))
def test_whatever_only_grew_is_cosigned(log_of: MakeLog, sizes: tuple[int, int]) -> None:
    old, new = sizes[0], sum(sizes)
    log = log_of(new)
    verdict = judge(seen_of(log, old), log.request(old, new))
    assert isinstance(verdict, Seen)
    assert verdict.checkpoint.size == new


@settings(max_examples=60, deadline=None)
@given(old=st.integers(1, 40), more=st.integers(0, 40), altered=st.integers(0, 39))
def test_whatever_changed_a_seen_record_is_a_fork(log_of: MakeLog, old: int, more: int, altered: int) -> None:
    honest, forged = log_of(old), log_of(old + more, altered=altered % old)
    assert refusal(judge(seen_of(honest, old), forged.request(old, old + more))) is Refusal.FORK


def test_a_log_that_lost_records_is_refused_and_they_are_named(log_of: MakeLog) -> None:
    log = log_of(10)
    verdict = judge(seen_of(log, 10), log.request(10, 7))
    assert verdict == NotCosigned(Refusal.SHRINK, "7 records shown, 10 seen: records 7 to 9 are lost")


def test_a_log_whose_chain_alone_differs_is_a_fork(log_of: MakeLog) -> None:
    log = log_of(10)
    seen = seen_of(log, 10)
    other = replace(seen, checkpoint=replace(seen.checkpoint, chain=bytes(32)))
    assert refusal(judge(other, log.request(10, 10))) is Refusal.FORK


def test_the_first_sight_of_a_log_pins_its_key(log_of: MakeLog) -> None:
    log = log_of(3)
    assert judge(None, log.request(0, 3)) == seen_of(log, 3)


def test_a_key_other_than_the_pinned_one_is_refused(log_of: MakeLog, signing_key: Callable[..., SigningKey]) -> None:
    log, stranger = log_of(5), log_of(6, key=signing_key(2))
    assert refusal(judge(seen_of(log, 5), stranger.request(5, 6))) is Refusal.UNKNOWN_KEY


def test_a_pinned_key_is_followed_to_the_one_it_handed_over_to(
    log_of: MakeLog, signing_key: Callable[..., SigningKey]
) -> None:
    old, new = signing_key(1), signing_key(2)
    log = log_of(6, key=old)
    seen = seen_of(log, 5)
    text = Handover(old.public, new.public).text
    log.key, log.handovers = new, (written(text, [old.sign(text, 0), new.sign(text, 0)]),)
    followed = judge(seen, log.request(5, 6))
    assert isinstance(followed, Seen)
    assert followed.key == new.public
    # And there is no way back to the key that was given up.
    log.key = old
    assert refusal(judge(followed, log.request(6, 6))) is Refusal.UNKNOWN_KEY


def test_a_hand_over_that_the_pinned_key_did_not_sign_is_worth_nothing(
    log_of: MakeLog, signing_key: Callable[..., SigningKey]
) -> None:
    old, thief = signing_key(1), signing_key(2)
    log = log_of(6, key=old)
    seen = seen_of(log, 5)
    text = Handover(old.public, thief.public).text
    log.key, log.handovers = thief, (written(text, [thief.sign(text, 0)]),)
    assert refusal(judge(seen, log.request(5, 6))) is Refusal.UNKNOWN_KEY


def test_a_proof_from_elsewhere_is_a_conflict_and_speaks_against_nobody(log_of: MakeLog) -> None:
    log = log_of(9)
    assert refusal(judge(seen_of(log, 5), log.request(4, 9))) is Refusal.CONFLICT
    assert refusal(judge(None, log.request(4, 9))) is Refusal.CONFLICT


def test_an_empty_log_is_not_witnessed(log_of: MakeLog) -> None:
    assert refusal(judge(None, log_of(0).request(0, 0))) is Refusal.BAD_REQUEST


def test_a_leader_of_yesterday_is_turned_away_and_the_log_not_blamed(log_of: MakeLog) -> None:
    log = log_of(9)
    seen = replace(seen_of(log, 9), epoch=7)
    # It was stopped before its successor recorded more, and knows of five records only.
    late = replace(log.request(5, 5), epoch=6)
    assert judge(seen, late) == NotCosigned(Refusal.STALE, "shown under leadership 6, 7 leads")
    assert Refusal.STALE not in REMEMBERED


def test_a_new_leader_goes_on_and_counts_from_then_on(log_of: MakeLog) -> None:
    log = log_of(9)
    verdict = judge(replace(seen_of(log, 5), epoch=6), replace(log.request(5, 9), epoch=7))
    assert isinstance(verdict, Seen)
    assert verdict.epoch == 7
