"""`siaga uptime` without a controller."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from siaga.cli import uptime
from siaga.errors import BadInput, Exit, Unreachable
from siaga.platform import account, layout
from siaga.site.load import embedded
from siaga.sop.month import Month
from siaga.uptime.model import Slice, State
from siaga.uptime.sqlite import FILE_NAME, SqliteStore

pytestmark = pytest.mark.clause("ZDT-1")
OCTOBER = Month(2025, 10)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteStore:
    """The state directory of a platform whose controller is dead."""
    monkeypatch.setenv("SIAGA_HOME", str(tmp_path))
    site = embedded()
    ports = {key: 40_000 + number for number, key in enumerate(layout.listeners(site))}
    found = layout.resolve(account.home(), site, ports)
    layout.save(found)
    found.directory("controller").mkdir()
    return SqliteStore(found.directory("controller") / FILE_NAME)


def test_a_month_is_told_from_its_store_when_the_controller_is_dead(
    store: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.begin(OCTOBER.begin_ms)
    store.record((Slice(OCTOBER.begin_ms, OCTOBER.end_ms, State.GOOD),))
    store.record((Slice(OCTOBER.begin_ms + 5_000, OCTOBER.begin_ms + 9_000, State.BAD, 1_000_000, regions=("sgp",)),))
    assert uptime.show(month="2025-10", json=True) == Exit.DONE
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["bad_ms"], document["uptime_percent"], document["from"]) == (4_000, "99.9998", "store")
    assert "this is what was kept" in said.err
    assert uptime.show(month="2025-10") == Exit.DONE
    assert "99.9998 %" in capsys.readouterr().out


def test_the_exit_code_says_whether_the_month_held(store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.begin(OCTOBER.begin_ms)
    store.record((Slice(OCTOBER.begin_ms, OCTOBER.begin_ms + 300_000, State.BAD, 1_000_000, regions=("sgp",)),))
    assert uptime.show(month="2025-10") == Exit.DOES_NOT_HOLD
    assert uptime.show(month="2025-11") == Exit.UNDETERMINED
    assert "nothing" not in capsys.readouterr().out


def test_the_time_since_the_controller_died_is_unknown(store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    now_ms = time.time_ns() // 1_000_000
    began_ms = max(now_ms - 7_200_000, Month.holding_ms(now_ms).begin_ms)
    store.begin(began_ms)
    store.record((Slice(began_ms, began_ms + 1, State.GOOD),))
    uptime.show(json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["good_ms"] == 1
    assert document["unknown_ms"] == pytest.approx(now_ms - began_ms, abs=60_000)


@pytest.mark.parametrize("month", ["2025-13", "last", "2199-12"])
def test_a_month_that_is_none_or_is_to_come_is_refused(store: SqliteStore, month: str) -> None:
    with pytest.raises(BadInput, match="month. is"):
        uptime.show(month=month)


def test_nobody_reclassifies_without_a_controller(store: SqliteStore) -> None:
    with pytest.raises(Unreachable):
        uptime.reclassify(from_="2025-10-01 00:00", to="2025-10-01 00:01", as_="bad", reason="because")
    with pytest.raises(BadInput, match="^to: found 'noon'"):
        uptime.reclassify(from_="2025-10-01 00:00", to="noon", as_="bad", reason="because")


def test_a_moment_without_a_zone_is_one_of_jakarta() -> None:
    assert uptime._moment("from", "2025-10-01 00:00") == "2025-10-01T00:00:00+07:00"
    assert uptime._moment("from", "2025-10-01T00:00:00Z") == "2025-10-01T00:00:00+00:00"


@pytest.mark.parametrize(("what", "key", "value"), [("openslo", "kind", "SLO"), ("rules", "groups", None)])
def test_exports_are_yaml(
    store: SqliteStore, capsys: pytest.CaptureFixture[str], what: str, key: str, value: str
) -> None:
    uptime.export(what)  # type: ignore[arg-type]
    found = yaml.safe_load(capsys.readouterr().out)
    assert found[key] == value if value else found[key]
