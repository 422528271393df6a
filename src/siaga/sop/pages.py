"""Writes the upper half of each clause's page under docs/sop: words, numbers and limits from the program itself.

`python -m siaga.sop.pages docs/sop` refreshes them; what stands below the mark is written by hand and stays.
"""

from __future__ import annotations

import sys
from pathlib import Path

from siaga.sop.adherence import NOT_BUILT_YET
from siaga.sop.clauses import CLAUSES, Clause, ClauseId
from siaga.sop.limits import bounds, shown

MARK = "<!-- Generated above by `python -m siaga.sop.pages`; written by hand below. -->\n"


def generated(clause_id: ClauseId) -> str:
    """Give the part of a clause's page that comes from the program, up to and including the mark."""
    clause = CLAUSES[clause_id]
    paragraphs = [
        f"# {clause.id}: {clause.title}",
        f"> {clause.indonesian}",
        clause.english,
        f"**Numbers:** {clause.numbers}." if clause.numbers else "This clause has no numbers of its own.",
        *_limits(clause),
        _measured(clause),
    ]
    return "\n\n".join(paragraphs) + "\n\n" + MARK


def refresh(directory: Path) -> None:
    """Bring every clause's page up to date; the words below the mark stay."""
    for clause_id in ClauseId:
        page = directory / f"{clause_id}.md"
        _, _, by_hand = page.read_text(encoding="utf-8").partition(MARK) if page.exists() else ("", "", "")
        page.write_text(generated(clause_id) + by_hand, encoding="utf-8")


def _limits(clause: Clause) -> list[str]:
    rows = [f"| `{b.field_path}` | {b.direction} {shown(b.bound)} |" for b in bounds() if b.clause is clause.id]
    if not rows:
        return []
    return ["A site file may be stricter, never looser:", "\n".join(["| Limit | Bound |", "|---|---|", *rows])]


def _measured(clause: Clause) -> str:
    if clause.id in NOT_BUILT_YET:
        return "**In this version:** not measured; the machinery is not built yet, and `siaga sop` says so."
    return f"**In this version:** measured live; `siaga sop {clause.id}` shows the figure, the limit and why."


if __name__ == "__main__":
    refresh(Path(sys.argv[1]))
