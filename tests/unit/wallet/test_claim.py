"""A claim is believed only as signed, for its session, and for a short time (ZDT-1.1b)."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wallet.claim import Claim, ClaimKeys

OLD, NEW = {"k1": b"1" * 32}, {"k2": b"2" * 32}
CLAIM = Claim(user=1, account=1001, name="ann", session_digest="d", session_expires_s=5000, expires_s=1060)

pytestmark = pytest.mark.clause("ZDT-1.1b")


def test_a_signed_claim_comes_back_until_it_expires() -> None:
    keys = ClaimKeys(OLD, ttl_s=60)
    cookie = keys.sign(CLAIM)
    assert keys.verify(cookie, "d", 1000) == CLAIM
    assert keys.verify(cookie, "d", 1059.9) == CLAIM
    assert keys.verify(cookie, "d", 1060) is None


def test_a_claim_is_for_one_session_only() -> None:
    keys = ClaimKeys(OLD, ttl_s=60)
    assert keys.verify(keys.sign(CLAIM), "another", 1000) is None


def test_a_claim_does_not_outlive_its_session() -> None:
    keys = ClaimKeys(OLD, ttl_s=60)
    short = dataclasses.replace(CLAIM, session_expires_s=1010)
    assert keys.verify(keys.sign(short), "d", 1009) == short
    assert keys.verify(keys.sign(short), "d", 1010) is None


def test_a_claim_of_a_longer_life_than_allowed_is_refused() -> None:
    keys = ClaimKeys(OLD, ttl_s=60)
    assert keys.verify(keys.sign(dataclasses.replace(CLAIM, expires_s=1062)), "d", 1000) is None


def test_a_new_key_signs_while_the_old_one_still_verifies() -> None:
    before, during, after = ClaimKeys(OLD, 60), ClaimKeys(NEW | OLD, 60), ClaimKeys(NEW, 60)
    assert during.verify(before.sign(CLAIM), "d", 1000) == CLAIM
    assert during.sign(CLAIM).startswith("k2.")
    assert after.verify(before.sign(CLAIM), "d", 1000) is None


def test_a_signature_is_bound_to_its_key_id() -> None:
    same_key = ClaimKeys({"k1": b"1" * 32, "k2": b"1" * 32}, 60)
    assert same_key.verify(same_key.sign(CLAIM).replace("k1.", "k2.", 1), "d", 1000) is None


def test_a_claim_is_renewed_in_the_second_half_of_its_life() -> None:
    keys = ClaimKeys(OLD, ttl_s=60)
    assert not keys.needs_refresh(CLAIM, 1029)
    assert keys.needs_refresh(CLAIM, 1031)
    assert keys.needs_refresh(None, 1000)


@given(st.integers(min_value=0), st.characters())
def test_no_altered_claim_is_believed(position: int, character: str) -> None:
    keys = ClaimKeys(OLD, ttl_s=60)
    cookie = keys.sign(CLAIM)
    position %= len(cookie)
    altered = cookie[:position] + character + cookie[position + 1 :]
    if altered != cookie:
        assert keys.verify(altered, "d", 1000) is None


@given(st.text())
def test_no_text_breaks_the_verification(text: str) -> None:
    assert ClaimKeys(OLD, ttl_s=60).verify(text, "d", 1000) is None
