"""The page: complete, self-contained, and safe from what stands in records."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from reported_month import SEAL, a_whole_month, appointed, at, incident, numbered, report

from siaga.evidence.model import Record
from siaga.reports.html import render, seconds
from siaga.reports.month import percent
from siaga.reports.strip import DayState, days
from siaga.sop.clauses import CLAUSES

HOSTILE = '<script>alert(1)</script><img src="http://x/">'
_VOID = ("meta", "link", "img", "br", "hr")


class Page(HTMLParser):
    """Counts tags, and every address that a browser would fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "srcset", "href", "data", "action") and not (value or "").startswith("#"):
                self.fetched.append(f"{tag} {name}={value}")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"


@pytest.mark.clause("SUM")
def test_each_clause_is_there_in_both_languages() -> None:
    html = render(report(a_whole_month()))
    for clause in CLAUSES.values():
        assert f'<article id="{clause.id}">' in html
        assert clause.indonesian.replace(">", "&gt;").replace("<", "&lt;") in html
        assert clause.english[:40].replace("'", "&#39;") in html


def test_nothing_is_fetched_and_every_tag_is_closed() -> None:
    page = Page(render(report(a_whole_month())))
    assert page.fetched == []
    assert page.open == []
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert "url(" not in render(report(a_whole_month()))


def test_what_stands_in_records_is_shown_and_never_obeyed() -> None:
    act = (at(9), Record("lever.mode", HOSTILE, "ZDT-1.1a", HOSTILE, {}))
    seal = replace(SEAL, origin=HOSTILE, faults=(HOSTILE,), witness=HOSTILE)
    entries = [act, incident(9, "opened", HOSTILE)]
    html = render(report(numbered(entries), site=HOSTILE, made_by=HOSTILE, seal=seal))
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert html.count("&lt;script&gt;") >= 8


def test_the_proof_names_root_checkpoint_keys_and_the_commands() -> None:
    html = render(replace(report(a_whole_month()), recorded="not recorded: the controller does not answer"))
    for wanted in (SEAL.root, SEAL.chain, SEAL.log_key, "siaga evidence verify", "verify_export.py", "1,100"):
        assert wanted in html
    assert "not recorded: the controller does not answer" in html


def test_a_month_without_data_says_that_nothing_was_measured() -> None:
    empty = replace(SEAL, records=0, first=None, last=None, size=0, root="")
    html = render(report(numbered([appointed()]), uptime=None, seal=empty))
    assert "Nothing was measured in this month" in html
    assert "● holds" not in html.replace("&nbsp;", " ")


def test_the_running_month_says_that_it_is_not_final() -> None:
    assert "Running, not final" in render(report(a_whole_month(), now=at(20)))
    assert "Running, not final" not in render(report(a_whole_month()))


@pytest.mark.clause("ZDT-1")
def test_the_strip_shows_each_day_as_what_it_was() -> None:
    found = {day.date.day: day for day in days(report(a_whole_month(), now=at(20, 12)))}
    assert len(found) == 30
    assert found[9].state is DayState.BAD
    assert found[9].words == "09 Nov: service failed, 41.0 s failed"
    assert found[17].state is DayState.UNKNOWN
    assert found[20].state is DayState.GOOD
    assert found[21].state is DayState.OUTSIDE


def test_a_share_is_never_rounded_up_to_all_of_it() -> None:
    assert percent(100) == "100 %"
    assert percent(99.99999) == "99.9999 %"


@pytest.mark.parametrize(
    ("length_s", "words"), [(None, "–"), (2.1, "2.1 s"), (119.9, "119.9 s"), (750, "12.5 min"), (9000, "2.5 h")]
)
def test_lengths_read_well(length_s: float | None, words: str) -> None:
    assert seconds(length_s) == words
