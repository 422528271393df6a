"""Each clause can be followed from its words to its limit, its page, its code and its tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from siaga.sop.adherence import NOT_BUILT_YET, standings
from siaga.sop.clauses import CLAUSES, ClauseId
from siaga.sop.limits import bounds
from siaga.sop.pages import MARK, generated

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "sop"

MACHINERY = {
    ClauseId.ZDT_1: "uptime",
    ClauseId.ZDT_1_1A: "traffic",
    ClauseId.ZDT_1_1B: "sessions",
    ClauseId.PMT: "health",
    ClauseId.DRP_3_2B: "ledger",
    ClauseId.SUM: "evidence",
}
"""The folder of each clause whose machinery exists. The one place to add the next one."""


def test_what_is_built_and_what_is_not_make_up_the_whole_document() -> None:
    assert set(MACHINERY) | NOT_BUILT_YET == set(ClauseId)
    assert not set(MACHINERY) & NOT_BUILT_YET


def test_what_is_not_built_is_what_siaga_sop_says_is_not_built() -> None:
    printed = standings([], datetime(2026, 11, 25, tzinfo=UTC))
    assert {s.clause for s in printed if s.why == "machinery not built yet"} == NOT_BUILT_YET


def test_every_bound_has_a_clause_with_numbers() -> None:
    assert [bound for bound in bounds() if not CLAUSES[bound.clause].numbers] == []


@pytest.mark.parametrize("clause", ClauseId)
def test_every_clause_has_a_page_that_is_up_to_date(clause: ClauseId) -> None:
    page = (PAGES / f"{clause}.md").read_text(encoding="utf-8")
    assert page.startswith(generated(clause)), "refresh with: python -m siaga.sop.pages docs/sop"
    assert "## In plain words" in page.partition(MARK)[2]


def test_there_is_no_page_without_a_clause() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == set(ClauseId)


@pytest.mark.parametrize("clause", MACHINERY)
def test_each_built_clause_is_named_in_its_code(clause: ClauseId) -> None:
    modules = list((ROOT / "src" / "siaga" / MACHINERY[clause]).glob("*.py"))
    assert any(clause in module.read_text(encoding="utf-8") for module in modules)


@pytest.mark.parametrize("clause", MACHINERY)
@pytest.mark.parametrize("folders", [("unit",), ("simulation", "integration")], ids="-or-".join)
def test_each_built_clause_is_tested(clause: ClauseId, folders: tuple[str, ...]) -> None:
    files = [file for folder in folders for file in (ROOT / "tests" / folder).rglob("test_*.py")]
    mark = f'mark.clause("{clause}")'
    assert any(mark in file.read_text(encoding="utf-8") for file in files), (
        f"no {' or '.join(folders)} test of {clause}"
    )
