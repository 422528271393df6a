"""Slices laid over each other, what only a file has to bear, and clocks."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.errors import BadInput, StoreFault
from siaga.uptime.clocks import Reading, Timeline
from siaga.uptime.counters import parsed
from siaga.uptime.model import Slice, Source, State, Step
from siaga.uptime.sqlite import FILE_NAME, SqliteStore, opened
from siaga.uptime.timeline import clipped, filled, joined, overlay

pytestmark = pytest.mark.clause("ZDT-1")
GOOD, BAD, UNKNOWN = State.GOOD, State.BAD, State.UNKNOWN
RANK = {None: -1, UNKNOWN: 0, GOOD: 1, BAD: 2}
OUTAGE = Slice(20, 30, BAD, 400_000, True, ("sgp",), (Step.LOG_IN,), (Source.TRAFFIC,), "log in: answered 503")


def at(slices: Sequence[Slice], moment_ms: int) -> State | None:
    return next((each.state for each in slices if each.begin_ms <= moment_ms < each.end_ms), None)


@st.composite
def rows(draw: st.DrawFn) -> tuple[Slice, ...]:
    found, reached = [], 0
    for gap, length, state in draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from(State)), max_size=5)
    ):
        found.append(Slice(reached + gap, reached + gap + length, state))
        reached = found[-1].end_ms
    return joined(found)


@given(rows(), rows())
def test_of_two_measurements_of_a_moment_the_worse_counts_and_the_missing_never(
    one: tuple[Slice, ...], other: tuple[Slice, ...]
) -> None:
    found = overlay(one, other)
    for moment in range(40):
        said = max((at(one, moment), at(other, moment)), key=lambda state: RANK[state])
        assert at(found, moment) is said
    assert found == joined(found)


@given(rows())
def test_filled_has_no_hole_and_says_unknown_where_nothing_was(slices: tuple[Slice, ...]) -> None:
    found = filled(slices, 3, 20)
    assert [each.begin_ms for each in found[1:]] == [each.end_ms for each in found[:-1]]
    assert (found[0].begin_ms, found[-1].end_ms) == (3, 20)
    for moment in range(3, 20):
        assert at(found, moment) is (at(slices, moment) or UNKNOWN)


def test_a_file_that_is_no_database_is_refused_by_name_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"half a file" * 500)
    with pytest.raises(BadInput, match="is damaged"):
        SqliteStore(path)
    assert path.read_bytes().startswith(b"half a file")


def test_a_controller_starts_with_a_damaged_file_and_sets_it_aside(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"half a file" * 500)
    with closing(opened(path)) as store:
        assert store.slices(0, 1 << 60) == ()
    assert path.with_name(f"{FILE_NAME}.damaged").read_bytes().startswith(b"half a file")


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    SqliteStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE facts SET value = 99 WHERE name = 'format'")
    with pytest.raises(BadInput, match="format 99"):
        SqliteStore(path)


def test_a_full_disk_changes_nothing_and_the_next_try_keeps_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / FILE_NAME)
    store.record((Slice(0, 20, GOOD),))
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages}")
    many = tuple(Slice(20 + n, 21 + n, BAD if n % 2 else GOOD, why="w" * 200) for n in range(100))
    with pytest.raises(StoreFault, match="full"):
        store.record(many)
    assert store.slices(0, 1000) == (Slice(0, 20, GOOD),)
    store._connection.execute("PRAGMA max_page_count=1000000")
    store.record(many)
    assert len(store.slices(0, 1000)) == len(overlay((Slice(0, 20, GOOD),), many))


def test_clipping_cuts_both_ends() -> None:
    assert clipped((Slice(0, 10, GOOD), OUTAGE), 5, 25) == (
        Slice(5, 10, GOOD),
        Slice(20, 25, BAD, 400_000, True, ("sgp",), (Step.LOG_IN,), (Source.TRAFFIC,), "log in: answered 503"),
    )


# Clocks -----------------------------------------------------------------------------------------------------


def looked(*readings: tuple[int, int]) -> tuple[Timeline, object, bool]:
    line = Timeline.begin(Reading(*readings[0]))
    found: tuple[Timeline, object, bool] = (line, None, False)
    for reading in readings[1:]:
        found = line.look(Reading(*reading))
        line = found[0]
    return found


def test_clocks_that_agree_leave_no_blind_time() -> None:
    line, blind, jumped = looked((1_000_000, 0), (1_000_100, 100))
    assert (line.at(150), blind, jumped) == (1_000_150, None, False)


def test_a_monitor_that_stood_still_was_blind() -> None:
    _, blind, jumped = looked((1_000_000, 0), (1_009_000, 9_000))
    assert (blind.begin_ms, blind.end_ms, jumped) == (1_000_000, 1_009_000, False)  # type: ignore[attr-defined]


def test_a_paused_machine_whose_clock_was_put_right_was_blind() -> None:
    line, blind, jumped = looked((1_000_000, 0), (1_000_100, 100), (4_600_200, 200))
    assert (blind.begin_ms, blind.end_ms, jumped) == (1_000_100, 4_600_200, True)  # type: ignore[attr-defined]
    assert line.at(300) == 4_600_300


def test_a_clock_set_back_is_followed_and_leaves_no_blind_time_to_record() -> None:
    line, blind, jumped = looked((9_000_000, 0), (9_000_100, 100), (5_400_200, 200))
    assert (line.at(300), blind, jumped) == (5_400_300, None, True)


def test_envoys_page_of_counters_is_read_by_region() -> None:
    page = (
        "http.front-sgp.downstream_rq_2xx: 120\nhttp.front-sgp.downstream_rq_3xx: 0\n"
        "http.front-sgp.downstream_rq_4xx: 7\nhttp.front-sgp.downstream_rq_5xx: 3\n"
        "http.front-eu-west.downstream_rq_2xx: 5\nhttp.door-sgp.downstream_rq_5xx: 99\n"
    )
    assert parsed(page) == {"sgp": (130, 3), "eu-west": (5, 0)}
