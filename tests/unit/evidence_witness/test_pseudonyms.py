"""Account ids in the evidence: the same one stays recognisable, and only the key tells whose it is."""

from __future__ import annotations

import stat
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.errors import BadInput, Refused
from siaga.evidence.pseudonyms import Pseudonyms

pytestmark = pytest.mark.clause("SUM")

IDS = st.one_of(
    st.integers(), st.uuids(), st.text(min_size=1, max_size=60).filter(lambda text: len(text.encode("utf-8", "ignore")))
)


@pytest.fixture(scope="module")
def pseudonyms(tmp_path_factory: pytest.TempPathFactory) -> Pseudonyms:
    return Pseudonyms(tmp_path_factory.mktemp("keys") / "pseudonyms.keys")


@given(account=IDS)
def test_every_id_is_stable_and_resolved(pseudonyms: Pseudonyms, account: str | int | UUID) -> None:
    pseudonym = pseudonyms.of(account)
    assert pseudonyms.of(account) == pseudonym
    assert pseudonyms.resolve(pseudonym) == str(account)
    assert set(pseudonym.removeprefix("acct_")) <= set("abcdefghijklmnopqrstuvwxyz234567")


@given(one=IDS, other=IDS)
def test_two_ids_have_two_pseudonyms(pseudonyms: Pseudonyms, one: str | int | UUID, other: str | int | UUID) -> None:
    assert (pseudonyms.of(one) == pseudonyms.of(other)) is (str(one) == str(other))


def test_a_number_and_its_digits_are_one_account(pseudonyms: Pseudonyms) -> None:
    assert pseudonyms.of(42) == pseudonyms.of("42")


def test_short_ids_do_not_show_their_length(pseudonyms: Pseudonyms) -> None:
    assert {len(pseudonyms.of(number)) for number in (1, 99, 10**14)} == {len("acct_") + 52}


def test_another_site_has_other_pseudonyms_and_resolves_none_of_ours(pseudonyms: Pseudonyms, tmp_path: Path) -> None:
    other = Pseudonyms(tmp_path / "pseudonyms.keys")
    assert other.of(42) != pseudonyms.of(42)
    with pytest.raises(Refused, match="made with a key that is not in"):
        other.resolve(pseudonyms.of(42))


def test_each_altered_character_resolves_to_nothing(pseudonyms: Pseudonyms) -> None:
    whole = pseudonyms.of("account-7")
    for place in range(len("acct_"), len(whole)):
        other = "b" if whole[place] != "b" else "c"
        with pytest.raises((Refused, BadInput)):
            pseudonyms.resolve(whole[:place] + other + whole[place + 1 :])


@pytest.mark.parametrize("text", ["", "acct_", "acct_1", "42", "acct_ABC", "acct_a b", "acct_aaaaaaaa"])
def test_what_is_no_pseudonym_is_refused(pseudonyms: Pseudonyms, text: str) -> None:
    with pytest.raises(BadInput, match="expected `acct_`"):
        pseudonyms.resolve(text)


@pytest.mark.parametrize("account", ["", "x" * 256, True, 1.5, None, b"42"])
def test_what_is_no_account_id_is_refused(pseudonyms: Pseudonyms, account: object) -> None:
    with pytest.raises(BadInput, match="account: found"):
        pseudonyms.of(account)  # type: ignore[arg-type]


def test_after_a_rotation_old_pseudonyms_are_resolved_and_new_ones_made(tmp_path: Path) -> None:
    path = tmp_path / "pseudonyms.keys"
    pseudonyms = Pseudonyms(path)
    old = pseudonyms.of(42)
    pseudonyms.rotate()
    for loaded in (pseudonyms, Pseudonyms(path)):
        new = loaded.of(42)
        assert new != old
        assert loaded.resolve(old) == loaded.resolve(new) == "42"
        assert loaded.all_of(42) == (new, old)


def test_the_keys_are_their_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "pseudonyms.keys"
    Pseudonyms(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(BadInput, match="mode 0644, expected 0600"):
        Pseudonyms(path)


def test_damaged_keys_are_refused_without_showing_them(tmp_path: Path) -> None:
    path = tmp_path / "pseudonyms.keys"
    Pseudonyms(path)
    whole = path.read_text()
    for damaged in ("", whole[:-3], whole.replace(whole[20], "#"), whole[:9] + whole[10:] + "A"):
        path.write_text(damaged)
        with pytest.raises(BadInput, match="is damaged|is empty") as refused:
            Pseudonyms(path)
        assert whole[9:40] not in str(refused.value)
