"""The arithmetic of leadership: no two leases overlap, whatever pauses and rates the clocks have."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from siaga.controller.election import LEASE_S, LOOK_S, RENEW_S, STALE_S, Lease, Watch, may_take_over, settle_s

HELD = Lease(3, 10, False, True, "a", "here", "machine", 100, 1, "", 1, "")


def test_a_free_lock_is_taken_at_once_and_a_held_one_when_its_lease_is_over() -> None:
    assert may_take_over(0.0, lock_is_free=True)
    assert not may_take_over(STALE_S - 0.1, lock_is_free=False)
    assert may_take_over(STALE_S, lock_is_free=False)


def test_a_renewal_starts_the_wait_anew_and_reading_the_same_does_not() -> None:
    watch = Watch()
    watch.see(HELD, 10.0)
    watch.see(HELD, 11.5)
    assert watch.unchanged_s(12.0) == 2.0
    watch.see(replace(HELD, renewals=11), 12.0)
    assert watch.unchanged_s(12.5) == 0.5


def test_a_leader_that_is_dead_or_has_left_is_not_waited_for() -> None:
    assert settle_s(HELD, 0.0, dead=True) == 0.0
    assert settle_s(replace(HELD, released=True), 0.0, dead=False) == 0.0
    assert settle_s(HELD, 0.5, dead=False) == STALE_S - 0.5


def test_one_that_claimed_and_died_before_it_acted_proves_nothing_about_the_leader_before_it() -> None:
    claimed = replace(HELD, settled=False, renewals=0)
    assert settle_s(claimed, 0.3, dead=True) == STALE_S - 0.3
    assert settle_s(replace(claimed, released=True), 0.3, dead=True) == STALE_S - 0.3


@given(claimed_after_s=st.floats(0, 3), died_after_s=st.floats(0, 3), seen_after_s=st.floats(0, 3))
def test_a_lease_has_ended_before_the_second_claimant_after_it_acts(
    claimed_after_s: float, died_after_s: float, seen_after_s: float
) -> None:
    """A leads elsewhere and renews until B's claim forbids it; B dies unsettled, C sees B's claim and follows."""
    last_renewal_of_a_s = claimed_at_s = claimed_after_s
    claim_of_b = replace(HELD, settled=False, renewals=0)
    watch = Watch()
    watch.see(claim_of_b, claimed_at_s + seen_after_s)
    claims_s = max(claimed_at_s + died_after_s, claimed_at_s + seen_after_s)
    acts_from_s = claims_s + settle_s(claim_of_b, watch.unchanged_s(claims_s), dead=True)
    assert acts_from_s > last_renewal_of_a_s + LEASE_S


def test_a_leader_renews_several_times_within_its_lease_and_a_takeover_fits_into_5_s() -> None:
    assert RENEW_S * 2 < LEASE_S < STALE_S
    # Until a standby looks, counts the lease down, and looks again; the rest is for starting.
    assert LOOK_S + STALE_S + LOOK_S <= 5.0 / 2


@given(
    sent_s=st.floats(0, 10),
    way_s=st.floats(0, 5),
    seen_after_s=st.floats(0, 5),
    claimed_after_s=st.floats(0, 5),
    lock_is_free=st.booleans(),
)
def test_the_old_lease_has_ended_before_the_first_act_under_the_new_epoch(
    sent_s: float, way_s: float, seen_after_s: float, claimed_after_s: float, lock_is_free: bool
) -> None:
    """Of a leader that can't be killed: its last renewal is sent, arrives, is seen by a standby, which claims later."""
    old_acts_until_s = sent_s + LEASE_S
    first_seen_s = sent_s + way_s + seen_after_s
    watch = Watch()
    watch.see(HELD, first_seen_s)
    claimed_s = first_seen_s + claimed_after_s
    unchanged_s = watch.unchanged_s(claimed_s)
    if may_take_over(unchanged_s, lock_is_free=lock_is_free):
        acts_from_s = claimed_s + settle_s(HELD, unchanged_s, dead=False)
        assert acts_from_s > old_acts_until_s
