"""Leader and standby over a real PostgreSQL: whatever happens one acts, and soon somebody does."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from contest import Contest, StateServer

from siaga.controller.leadership_postgres import PostgresLeadership
from siaga.controller.leadership_process import this_process
from siaga.errors import BadInput

STOPPED_S = 5.0
"""Several times what a standby waits; the campaign in `benchmarks.takeover` takes 30 s."""

on_one_machine = pytest.mark.parametrize("pair", ["one machine"], indirect=True)
on_two_machines = pytest.mark.parametrize("pair", ["two machines"], indirect=True)


def test_a_killed_leader_is_followed_within_5_s(contest: Contest) -> None:
    first = contest.leader()
    contest.running[first.name].kill()
    second = contest.wait_for_successor(first)
    assert second.name != first.name


def test_a_stopped_leader_is_followed_and_does_nothing_when_it_wakes(contest: Contest) -> None:
    first = contest.leader()
    stopped = contest.running[first.name]
    stopped.send_signal(signal.SIGSTOP)
    began_s = time.monotonic()
    second = contest.wait_for_successor(first)
    assert second.name != first.name
    if contest.same_machine:
        assert stopped.wait(5) == -signal.SIGKILL, "the new leader kills the one it can reach"
    else:
        contest.keep_for(STOPPED_S - (time.monotonic() - began_s))
        stopped.send_signal(signal.SIGCONT)
        assert stopped.wait(5) == 70, "it notices by itself"
    contest.keep_for(1.0)
    assert contest.leader().epoch == second.epoch, "its return as a standby changes nothing"


def test_a_leader_whose_connection_is_cut_steps_down(contest: Contest) -> None:
    first = contest.leader()
    cut = contest.running[first.name]
    contest.database.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s",
        f"siaga leader {first.epoch}",
    )
    contest.wait_for_successor(first)
    assert cut.wait(5) in (70, -signal.SIGKILL)


def test_after_a_restart_of_postgresql_one_leads_again(contest: Contest) -> None:
    first = contest.leader()
    contest.database.server.stop()
    contest.keep_for(1.0)
    contest.database.server.start()
    contest.wait_for_successor(first)


@on_two_machines
def test_a_postgresql_that_hangs_lets_nobody_act_and_one_leads_when_it_goes_on(contest: Contest) -> None:
    first = contest.leader()
    hanging = contest.running[first.name]
    with contest.database.server.hung():
        assert hanging.wait(5) == 70
        last = contest.last()
    assert last is not None and last.epoch == first.epoch
    # A standby whose question hung has to ask again first.
    contest.wait_for_successor(first, deadline_s=10)


@on_one_machine
def test_a_leader_that_hangs_itself_stops_leading(contest: Contest) -> None:
    first = contest.leader()
    hanging = contest.running[first.name]
    hanging.send_signal(signal.SIGUSR1)
    second = contest.wait_for_successor(first, deadline_s=10)
    assert second.name != first.name
    assert hanging.wait(5) in (70, -signal.SIGKILL)


@on_two_machines
def test_an_orderly_leave_hands_over_without_waiting_for_the_lease(contest: Contest) -> None:
    first = contest.leader()
    leaving = contest.running[first.name]
    leaving.terminate()
    second = contest.wait_for_successor(first)
    assert leaving.wait(5) == 0
    last_of_first = max(act.at_s for act in contest.acts() if act.epoch == first.epoch)
    (first_of_second,) = [act for act in contest.acts() if act.epoch == second.epoch and act.number == 1]
    assert first_of_second.at_s - last_of_first < 2.0, "less than the lease that a lost leader is given"


@on_two_machines
def test_a_claimant_that_dies_before_its_first_act_does_not_shorten_the_wait_for_the_leader(contest: Contest) -> None:
    first = contest.leader()
    # As one that raised the epoch, on the standby's machine, and died at once: the leader may act until it notices.
    (standby,) = (name for name in contest.running if name != first.name)
    contest.database.query(
        "update siaga_state.leader set epoch = epoch + 1, renewals = 0, settled = false, released = false, "
        "machine = %s, pid = 1, started_ticks = 0",
        f"machine of {standby}",
    )
    claimed_s = time.monotonic()
    second = contest.wait_for_successor(first)
    assert second.epoch == first.epoch + 2
    begins_s = min(act.at_s for act in contest.acts() if act.epoch == second.epoch)
    assert begins_s - claimed_s > 1.5, "a whole lease of the leader before"


@on_one_machine
def test_setting_the_database_clock_changes_nobody_s_mind(contest: Contest) -> None:
    first = contest.leader()
    for shift in ("- interval '1 day'", "+ interval '1 day'"):
        # As the row looks to everybody after the database's host had its clock set.
        contest.database.query(f"update siaga_state.leader set renewed_at = renewed_at {shift}, since = since {shift}")
        contest.keep_for(2.5)
    assert contest.leader().epoch == first.epoch


@on_two_machines
def test_a_write_under_an_old_epoch_is_refused_by_its_target(contest: Contest) -> None:
    first = contest.leader()
    contest.running[first.name].kill()
    contest.wait_for_successor(first)
    written = contest.database.query(
        "insert into acts (epoch, act) select epoch, 0 from siaga_state.leader where epoch = %s returning epoch",
        first.epoch,
    )
    assert written == []


def test_when_all_start_at_once_on_an_empty_database_one_leads_and_later_ones_change_nothing(
    begin: Callable[..., Contest],
) -> None:
    contest = begin("a", "b", "c", same_machine=False)
    assert contest.leader().epoch == 1
    contest.start("d")
    contest.wait_for_standbys()
    contest.keep_for(2.5)
    assert {act.epoch for act in contest.acts()} == {1}
    contest.judge()


async def test_while_postgresql_is_away_a_standby_says_that_nobody_leads(tmp_path: Path) -> None:
    standby = PostgresLeadership(
        "host=127.0.0.1 port=1 dbname=x user=x", this_process("a"), epoch_file=tmp_path / "epoch"
    )
    await _says(standby, "nobody leads and nobody acts")
    assert standby.describe()["state_reachable"] is False
    assert standby.valid() is False


async def test_a_standby_that_is_not_let_in_says_so_without_the_password(
    state_server: StateServer, tmp_path: Path
) -> None:
    state = state_server.create("strangers")
    state.query("create role stranger")
    conninfo = state.conninfo.replace("user=siaga_state", "user=stranger password=hunter2")
    standby = PostgresLeadership(conninfo, this_process("a"), epoch_file=tmp_path / "epoch")
    await _says(standby, 'role "stranger" is not permitted to log in')
    assert "hunter2" not in str(standby.describe())


async def test_a_state_that_a_much_newer_version_wrote_is_left_alone(
    begin: Callable[..., Contest], tmp_path: Path
) -> None:
    contest = begin("a", same_machine=True)
    contest.leader()
    contest.stop()
    contest.database.query("update siaga_state.leader set format = 99, siaga = '9.9'")
    late = PostgresLeadership(contest.database.conninfo, this_process("b"), epoch_file=tmp_path / "epoch")
    with pytest.raises(BadInput, match=r"state format 99, written by siaga 9\.9"):
        await late.lead()
    assert contest.database.query("select epoch from siaga_state.leader") == [(1,)]


def test_after_the_database_was_lost_epochs_still_grow(begin: Callable[..., Contest]) -> None:
    contest = begin("a", same_machine=True)
    first = contest.leader()
    contest.stop()
    # As a database restored from yesterday, or made anew.
    contest.database.query("update siaga_state.leader set epoch = 0, released = true")
    contest.start("a")
    assert contest.wait_for_successor(first).epoch == first.epoch + 1


async def _says(standby: PostgresLeadership, words: str) -> None:
    """What a standby waits for, while it waits."""
    waiting = asyncio.create_task(standby.lead())
    try:
        async with asyncio.timeout(10):
            while words not in standby.describe()["why"]:
                await asyncio.sleep(0.02)
    finally:
        waiting.cancel()
        await standby.give_up()
