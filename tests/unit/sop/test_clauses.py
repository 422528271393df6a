"""The SOP's clauses as data, and looking one up."""

from __future__ import annotations

import pytest

from siaga.errors import BadInput, Exit
from siaga.sop.clauses import CLAUSES, Clause, ClauseId, find


def test_every_clause_of_the_document_is_there_in_its_order() -> None:
    ids = "ZDT-1 ZDT-1.1a ZDT-1.1b PMT PMT-2.1 PMT-2.2 DRP DRP-3.1 DRP-3.2a DRP-3.2b SUM"
    assert " ".join(CLAUSES) == ids
    assert set(CLAUSES) == set(ClauseId)


@pytest.mark.parametrize("clause", CLAUSES.values(), ids=lambda clause: clause.id)
def test_a_clause_has_words_in_both_languages(clause: Clause) -> None:

    assert clause.title
    assert clause.indonesian.endswith(".")
    assert clause.english.endswith(".")


def test_a_clause_is_found_in_any_case() -> None:
    assert [clause.id for clause in find(" pmt-2.1 ")] == [ClauseId.PMT_2_1]


@pytest.mark.parametrize(
    ("section", "ids"), [("ZDT-1.1", ["ZDT-1.1a", "ZDT-1.1b"]), ("drp-3.2", ["DRP-3.2a", "DRP-3.2b"])]
)
def test_a_section_is_each_of_its_lettered_clauses(section: str, ids: list[str]) -> None:
    assert [clause.id for clause in find(section)] == ids


def test_a_chapter_is_its_own_clause_only() -> None:
    assert [clause.id for clause in find("ZDT-1")] == [ClauseId.ZDT_1]


@pytest.mark.parametrize(
    ("text", "hint"),
    [("ZDT-1.1c", "did you mean `ZDT-1.1b`?"), ("pmt2.1", "did you mean `PMT-2.1`?"), ("", "lists every clause")],
)
def test_an_unknown_clause_is_refused_with_the_nearest_one(text: str, hint: str) -> None:
    with pytest.raises(BadInput) as refusal:
        find(text)
    assert hint in refusal.value.hint
    assert refusal.value.exit_code is Exit.USAGE
