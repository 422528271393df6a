"""Appointments, freezes, gates and modes of a site file."""

from __future__ import annotations

import re
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siaga.errors import BadInput
from siaga.runbooks import site_schedule
from siaga.site.load import embedded, from_json, load, to_json
from siaga.site.model import Site
from siaga.site.schedule import GateKind
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import Mode

WHOLE = """
embedded = true

[[appointments]]
name = "renew-indexes"
runbook = "renew-indexes"
clause = "PMT"
weekdays = ["Sunday"]
begin = "23:30"
end = "01:00"
zone = "Europe/Berlin"
last_start_before_end_min = 30
hard_stop_before_end_min = 10
parameters = { concurrently = true }

[[freezes]]
begin = 2026-12-24
end = 2026-12-26
reason = "holidays"
clauses = ["PMT"]

[[freezes]]
begin = 2026-12-30T18:00:00+07:00
end = 2026-12-31T06:00:00+07:00
reason = "closing of the books"
runbooks = ["update-database"]

[change_calendar]
file = "/etc/siaga/changes.ics"

[[gates]]
name = "change-board"
runbook = "update-database"
before = "switch"
kind = "ticket"
pattern = "CHG-[0-9]+"

[[gates]]
name = "backups"
runbook = "update-database"
before = "switch"
kind = "exec"
argv = ["/usr/local/bin/backups-good", "--since", "1h"]

[[gates]]
name = "cdn"
runbook = "update-database"
after = "switch"
kind = "http"
url = "https://status.example.net/ok"
secret_headers = { Authorization = "cdn-token" }

[modes_max]
"PMT-2.1" = "approve"
"""


def site(text: str) -> Site:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "site.toml"
        path.write_text(text)
        return load(path)


def refused(text: str) -> str:
    with pytest.raises(BadInput) as refusal:
        site("embedded = true\n" + text)
    return refusal.value.message.partition(": ")[2]


def test_a_whole_schedule_is_read_and_survives_the_state_directory() -> None:
    found = site(WHOLE)
    assert from_json(to_json(found)) == found
    assert [gate.kind for gate in found.gates] == [GateKind.TICKET, GateKind.EXEC, GateKind.HTTP]
    assert found.modes_max == {ClauseId.PMT_2_1: Mode.APPROVE}


def test_the_sop_expects_its_two_appointments_on_every_site() -> None:
    found = {a.name: a for a in site_schedule.appointments(embedded())}
    update, audit = found["update-database"], found["audit-vendors"]
    assert str(update.window) == "Wednesday 03:00-04:00 Asia/Jakarta"
    assert update.only_at_low_traffic
    assert audit.clause is ClauseId.PMT_2_2


def test_the_windows_zone_is_wib_whatever_the_sites_is_and_a_site_may_tighten_the_hour() -> None:
    text = (
        'timezone = "Europe/Berlin"\nembedded = true\n[limits.database]\nwindow_begin = "03:30"\nwindow_end = "03:33"\n'
    )
    update = site_schedule.appointments(site(text))[0]
    opening = update.window.opening(date(2026, 11, 25))
    assert opening.begin == datetime(2026, 11, 24, 20, 30, tzinfo=UTC)
    assert opening.last_start == opening.end - timedelta(minutes=1)


def test_a_sites_own_audit_takes_the_place_of_the_default() -> None:
    own = (
        'embedded = true\n[[appointments]]\nname = "audit-vendors"\nrunbook = "audit-vendors"\nclause = "PMT-2.2"\n'
        'weekdays = ["Friday"]\nbegin = "10:00"\nend = "11:00"\nzone = "Asia/Jakarta"\n'
    )
    found = site_schedule.appointments(site(own))
    assert [str(a.window) for a in found if a.name == "audit-vendors"] == ["Friday 10:00-11:00 Asia/Jakarta"]


def test_freezes_of_whole_days_include_the_last_and_are_in_the_sites_zone() -> None:
    first, second = site_schedule.freezes(site(WHOLE))
    assert (first.begin, first.end) == (
        datetime(2026, 12, 23, 17, tzinfo=UTC),
        datetime(2026, 12, 26, 17, tzinfo=UTC),
    )
    assert second.begin == datetime(2026, 12, 30, 11, tzinfo=UTC)
    assert second.applies("update-database", ClauseId.PMT_2_1)
    assert not second.applies("audit-vendors", ClauseId.PMT_2_2)


def test_a_runbook_that_nobody_knows_is_named_wherever_the_site_names_it() -> None:
    with pytest.raises(BadInput) as refusal:
        site_schedule.check_names(site(WHOLE), ["update-databases", "audit-vendors"])
    assert 'freezes[2].runbooks = "update-database": no such runbook, did you mean `update-databases`?' in (
        refusal.value.message
    )
    assert "gates.cdn.runbook" in refusal.value.message
    assert "appointments.renew-indexes.runbook" in refusal.value.message
    site_schedule.check_names(site(WHOLE), ["update-database", "renew-indexes"])


VALUE = re.compile(r"(?<== )[^#\n]+")
OTHER_VALUES = st.sampled_from(
    [
        "0",
        "-1",
        "1e400",
        "nan",
        "true",
        "''",
        "'x'",
        "'\\u0000'",
        "[]",
        "{}",
        "[[1]]",
        "03:00:00",
        "1979-05-27",
        "9999-12-31",
    ]
    + ["2026-12-24T07:32:00Z", "0001-01-01", "9" * 40, "{ a = 1 }", "[{}]", "['PMT']", "'exec'", "'('", "'24:00'"]
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), OTHER_VALUES), min_size=1, max_size=4))
def test_whatever_stands_there_instead_is_a_good_site_or_named(changes: list[tuple[int, str]]) -> None:
    text = WHOLE
    for number, value in changes:
        found = list(VALUE.finditer(text))
        begin, end = found[number % len(found)].span()
        text = text[:begin] + value + text[end:]
    try:
        made = site(text)
    except BadInput as refusal:
        assert refusal.hint
        return
    assert from_json(to_json(made)) == made
    assert site_schedule.appointments(made)
    assert all(freeze.begin < freeze.end for freeze in site_schedule.freezes(made))


GATE = '[[gates]]\nname = "g"\nrunbook = "r"\nbefore = "s"\n'
FREEZE = '[[freezes]]\nreason = "r"\n'
APPOINTMENT = """
[[appointments]]
name = "a"
runbook = "r"
clause = "PMT"
weekdays = ["Sunday"]
begin = "03:00"
end = "04:00"
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GATE + 'kind = "exce"', "gates.g.kind"),
        (GATE + 'kind = "exec"', "expected `argv` in a gate of kind exec"),
        (GATE + 'kind = "http"', "expected `url` in a gate of kind http"),
        (GATE + 'kind = "approval"\nurl = "http://h/"', "no `url` in a gate of kind approval"),
        (GATE + 'after = "s"\nkind = "approval"', "either `before` or `after`"),
        (GATE + 'kind = "ticket"\npattern = "("', "a regular expression"),
        (GATE + 'kind = "http"\nurl = "https://ani:secret@h/"', "without user or password"),
        (GATE + 'kind = "approval"\ntimeout_s = 0', "gates.g.timeout_s"),
        (GATE + 'kind = "approval"\npeople = 3', "gates.g.people"),
        (GATE + 'kind = "approval"\n' + GATE + 'kind = "approval"', 'gates: the name "g" is given twice'),
        (FREEZE + "begin = 2026-12-26\nend = 2026-12-24", "expected an end after"),
        (FREEZE + "begin = 2026-12-24T00:00:00\nend = 2026-12-26T00:00:00Z", "both times with an offset, or both"),
        (FREEZE + "begin = 2026-12-24\nend = 9999-12-31", "freezes[1].end"),
        (FREEZE + "begin = 0001-01-01T00:00:00+14:00\nend = 2026-12-26", "freezes[1].begin"),
        (FREEZE + 'begin = "soon"\nend = 2026-12-24', "a date or a time"),
        (FREEZE + 'begin = 2026-12-24\nend = 2026-12-26\nclauses = ["PMT-9"]', "freezes[1].clauses[1]"),
        (APPOINTMENT + 'zone = "+07:00"', "a time zone such as Asia/Jakarta, never an offset"),
        (APPOINTMENT + 'zone = "Asia/Jakarta"\nlast_start_before_end_min = 60', "hard_stop_before_end_min <="),
        (APPOINTMENT.replace("Sunday", "Sonntag") + 'zone = "Asia/Jakarta"', "a day such as Wednesday"),
        (APPOINTMENT.replace('"r"', '"update-database"') + 'zone = "Asia/Jakarta"', "limits.database"),
        ('[modes_max]\n"PMT-9" = "act"', "clauses with a mode each"),
        ('[modes_max]\n"PMT-2.1" = "always"', "clauses with a mode each"),
        ('[modes_max]\n"PMT-2.1" = { mode = "act" }', "clauses with a mode each"),
        ("[change_calendar]\nfile = 7", "change_calendar.file = 7: expected text in quotes"),
    ],
)
def test_a_mistake_is_named_by_field_value_and_what_was_expected(text: str, words: str) -> None:
    assert words in refused(text)
    assert "ani:secret" not in refused(text)
