"""The last evidence of every clause, and where it was last proven."""

from __future__ import annotations

from typing import Any

import pytest

from siaga.evidence import index


def record(number: int, kind: str = "traffic.drain", clause: str = "ZDT-1.1a", **figures: Any) -> dict[str, Any]:
    return {
        "number": number,
        "time": f"2026-11-25T03:00:{number:02}.000Z",
        "kind": kind,
        "clause": clause,
        "reason": f"reason {number}",
        "figures": figures,
    }


@pytest.mark.clause("SUM")
def test_the_last_record_of_a_clause_is_its_last_evidence() -> None:
    found = index.Index().taking(record(0)).taking(record(1)).taking(record(2, clause=""))
    assert found.records == 3
    assert {clause: entry["number"] for clause, entry in found.latest.items()} == {"ZDT-1.1a": 1}


@pytest.mark.clause("SUM")
def test_proofs_in_different_places_are_never_mixed() -> None:
    proven = record(0, index.PROOF, drill="node-loss", clauses=["ZDT-1.1a"], holds=True, where="embedded")
    elsewhere = record(1, index.PROOF, drill="node-loss", clauses=["ZDT-1.1a"], holds=False, where="site")
    places = index.Index().taking(proven).taking(elsewhere).proofs["ZDT-1.1a"]
    assert {place: (entry["number"], entry["holds"]) for place, entry in places.items()} == {
        "embedded": (0, True),
        "site": (1, False),
    }


def test_a_record_that_was_taken_in_already_changes_nothing() -> None:
    once = index.Index().taking(record(0)).taking(record(1))
    assert once.taking(record(0, clause="PMT")) == once


def test_it_survives_its_cache_file() -> None:
    once = index.Index().taking(record(0, index.PROOF, drill="d", clauses=["PMT"], holds=True, where="embedded"))
    assert index.from_document(index.to_document(once)) == once
