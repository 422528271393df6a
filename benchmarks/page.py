"""One page holds the last results of every campaign: docs/soak.md, a section each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/soak.md"


def write_section(title: str, lines: Sequence[str]) -> None:
    """Put these lines in the place of the section of that title, or at the end."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")
    ours = "\n".join([title, "", *lines]) + "\n"
    kept = [ours if section.split("\n", 1)[0] == title else section for section in sections]
    if ours not in kept:
        kept.append(ours)
    PAGE.write_text("\n## ".join(section.rstrip("\n") + "\n" for section in kept), encoding="utf-8")
