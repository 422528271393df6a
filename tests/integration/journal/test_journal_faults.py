"""What goes wrong around the journal, each with what it then does: names it, waits, or stops; it never guesses."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from journal_servers import MAP, PASSWORD, ROLE, Journal, Ledger, Postgres, cluster, create_ledger
from wallet_servers import UNPRIVILEGED, wait_until

from siaga.journal import beyond, compare, segments
from siaga.journal.frames import Damaged
from siaga.journal.lsn import parse
from siaga.journal.verify import verify
from siaga.ledger.load import load as load_map

pytestmark = pytest.mark.clause("DRP-3.2b")


def _compare(journal: Journal) -> compare.Comparison:
    ledger = journal.ledger
    login = f"host=127.0.0.1 port={ledger.postgres.server.port} dbname={ledger.name} user={ROLE} password={PASSWORD}"
    return compare.compare(login, load_map(MAP), journal.directory)


def test_a_dropped_slot_is_a_gap_from_and_to_with_a_new_base(journal: Journal, ledger: Ledger) -> None:
    ledger.move(1, 2)
    journal.catch_up()
    journal.stop()
    before = journal.contents().standing.position
    ledger.query("select pg_drop_replication_slot(%s)", journal.slot)
    unseen = ledger.move(3, 4)
    journal.start()
    found = journal.await_state("streaming")
    ledger.move(5, 6)
    journal.catch_up()
    (gap,) = found["gaps"]
    assert before is not None
    assert parse(gap["begin"]) == before.at
    assert parse(gap["end"]) > before.at
    assert "slot does not exist" in gap["why"]
    assert not any(unseen in (row["detail"] or "") for row in journal.rows())
    assert _compare(journal).matches


def test_a_slot_made_anew_by_somebody_else_is_not_trusted(journal: Journal, ledger: Ledger) -> None:
    ledger.move(1, 2)
    journal.catch_up()
    journal.stop()
    ledger.query("select pg_drop_replication_slot(%s)", journal.slot)
    ledger.move(3, 4)
    ledger.query("select pg_create_logical_replication_slot(%s, 'pgoutput')", journal.slot)
    journal.start()
    (gap,) = journal.await_state("streaming")["gaps"]
    assert "made anew" in gap["why"]


def test_a_flipped_byte_in_the_open_log_is_named_and_costs_only_a_named_gap(journal: Journal, ledger: Ledger) -> None:
    for _ in range(5):
        ledger.move(1, 2)
        journal.catch_up()
    journal.kill()
    log = segments.log_path(journal.directory, 1)
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    (fault,) = verify(journal.contents())
    assert fault.startswith("0000000001.log: frame ")
    # The latter where the byte is one of a length.
    assert "is not what was written" in fault or "says it has" in fault
    journal.start()
    (gap,) = journal.await_state("streaming")["gaps"]
    assert parse(gap["begin"]) < parse(gap["end"])
    assert _compare(journal).matches
    assert log.with_suffix(".log.cut").exists() or log.with_suffix(".parquet").exists()


def test_a_log_cut_short_below_what_was_acknowledged_is_a_gap(journal: Journal, ledger: Ledger) -> None:
    for _ in range(5):
        ledger.move(1, 2)
        journal.catch_up()
    journal.kill()
    log = segments.log_path(journal.directory, 1)
    os.truncate(log, log.stat().st_size // 2)
    journal.start()
    assert len(journal.await_state("streaming")["gaps"]) == 1
    assert _compare(journal).matches


def test_an_altered_segment_is_named_with_what_it_holds(ledger: Ledger, new_journal: Callable[..., Journal]) -> None:
    journal = new_journal(ledger, log_bytes_max=2000)
    journal.start()
    journal.await_state("streaming")
    for _ in range(40):
        ledger.move(1, 2)
    journal.catch_up()
    wait_until(lambda: len(journal.contents().seals) > 1, "logs are closed")
    assert verify(journal.contents()) == []
    assert _compare(journal).matches
    path = segments.segment_path(journal.directory, 1)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    (fault,) = verify(journal.contents())
    assert "0000000001.parquet is not what was sealed" in fault
    assert "transactions with" in fault
    path.unlink()
    assert "is missing" in verify(journal.contents())[0]
    seal = segments.seal_path(journal.directory, 1)
    seal.write_text(seal.read_text().replace('"entries": ', '"entries": 1'))
    with pytest.raises(Damaged, match="is not the seal that follows"):
        journal.contents()


def test_many_small_segments_under_kill_hold_everything_once(
    ledger: Ledger, new_journal: Callable[..., Journal]
) -> None:
    journal = new_journal(ledger, log_bytes_max=3000)
    for _ in range(6):
        journal.start()
        for _ in range(30):
            ledger.move(1, 2)
        journal.kill()
    journal.start()
    journal.await_state("streaming")
    journal.catch_up()
    found = journal.entries()
    assert len(found) == len(set(found))
    assert verify(journal.contents()) == []
    assert _compare(journal).matches


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("alter table bank.entries rename column balance_after to after", "no column `balance_after`"),
        (
            # The server itself refuses it while the column is published: somebody got round that.
            "drop publication siaga_journal_entries; alter table bank.entries alter column amount type numeric; "
            "create publication siaga_journal_entries for table bank.entries",
            "column `amount`",
        ),
        ("alter table bank.entries rename to movements", "bank.movements"),
    ],
)
def test_a_schema_change_it_cannot_follow_stops_it_loudly(
    journal: Journal, ledger: Ledger, change: str, named: str
) -> None:
    ledger.query(change)
    table = "bank.movements" if "movements" in change else "bank.entries"
    ledger.query(f"insert into {table} values (1, 1, 5, 5, 1)")
    said = journal.await_state("stopped")
    assert named in said["why"]
    assert journal.confirmed() <= parse(said["position"]["lsn"])


def test_a_schema_change_that_does_not_matter_is_followed(journal: Journal, ledger: Ledger) -> None:
    ledger.move(1, 2)
    ledger.query("alter table bank.entries add column note text default 'x'")
    ledger.move(1, 2)
    journal.catch_up()
    assert len(journal.entries()) == 4
    assert journal.status()["state"] == "streaming"


def test_two_consumers_of_one_directory_are_refused(journal: Journal) -> None:
    log = journal.home / "second.log"
    with log.open("wb") as output:
        second = subprocess.run(_argv(journal), stdout=output, stderr=output, timeout=30, check=False)
    assert second.returncode == 4
    assert "another consumer writes" in log.read_text()
    assert journal.status()["state"] == "streaming"


def _argv(journal: Journal) -> list[str]:
    import sys

    return [sys.executable, "-m", "siaga.journal.main", str(journal.home / "config.json")]


def test_wrong_credentials_are_told_without_the_password(ledger: Ledger, new_journal: Callable[..., Journal]) -> None:
    journal = new_journal(ledger)
    path = journal.configure()
    (journal.home / "password").write_text("not-the-password")
    with (journal.home / "log").open("ab") as log:
        journal.process = subprocess.Popen([*_argv(journal)[:-1], str(path)], stdout=log, stderr=log)
    said = journal.await_state("waiting")
    assert "password authentication failed" in said["why"]
    assert "not-the-password" not in journal.log()
    # The right one is taken up without a restart.
    (journal.home / "password").write_text(PASSWORD)
    journal.await_state("streaming")


def test_a_full_disk_stops_acknowledging_and_nothing_is_lost(
    ledger: Ledger, new_journal: Callable[..., Journal]
) -> None:
    journal = new_journal(ledger)
    journal.configure()
    journal.directory.mkdir()
    argv = ["bash", "-c", 'ulimit -f 40; trap "" XFSZ; exec "$@"', "limited", *_argv(journal)]
    with (journal.home / "log").open("ab") as log:
        journal.process = subprocess.Popen(argv, stdout=log, stderr=log)
    journal.await_state("streaming")
    for amount in range(1, 200):
        ledger.move(1, 2, amount=amount)
    said = journal.await_state("waiting")
    assert "too large" in said["why"].lower()
    journal.kill()
    # Room again: the server has kept everything that was not acknowledged.
    journal.start()
    journal.await_state("streaming")
    journal.catch_up()
    assert len(journal.entries()) == len(set(journal.entries())) == 398
    assert journal.status()["gaps"] == []


def test_a_hung_server_is_left_and_found_again(
    new_postgres: Callable[..., Postgres], new_journal: Callable[..., Journal]
) -> None:
    postgres = new_postgres(wal_sender_timeout="1s")
    postgres.start()
    ledger = create_ledger(postgres, "bank")
    journal = new_journal(ledger)
    journal.start()
    journal.await_state("streaming")
    assert postgres.server.process is not None
    parent = postgres.server.process.pid
    family = [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        journal.await_state("waiting", 30)
    finally:
        for pid in reversed(family):
            os.kill(pid, signal.SIGCONT)
    journal.await_state("streaming", 30)
    ledger.move(1, 2)
    journal.catch_up()
    assert _compare(journal).matches


def test_a_slot_that_held_too_much_is_given_up_by_the_server_and_named(
    new_postgres: Callable[..., Postgres], new_journal: Callable[..., Journal]
) -> None:
    postgres = new_postgres(max_slot_wal_keep_size="4MB", max_wal_size="4MB", min_wal_size="2MB")
    postgres.start()
    ledger = create_ledger(postgres, "bank")
    journal = new_journal(ledger)
    journal.start()
    assert journal.await_state("streaming")["slot_wal_bytes_left"] > 0
    journal.stop()
    ledger.query("create table filler (x text)")
    for _ in range(4):
        ledger.query("insert into filler select repeat(md5(n::text), 30) from generate_series(1, 5000) n")
        ledger.query("checkpoint")
    journal.start()
    (gap,) = journal.await_state("streaming")["gaps"]
    assert "gave the slot up" in gap["why"]
    ledger.move(1, 2)
    journal.catch_up()
    assert _compare(journal).matches


def test_a_promotion_forks_the_way_and_names_what_was_lost(
    new_postgres: Callable[..., Postgres], new_journal: Callable[..., Journal], journal_home: Path
) -> None:
    blue = new_postgres()
    blue.start()
    ledger = create_ledger(blue, "bank")
    green = _replica(blue, journal_home)
    try:
        journal = new_journal(
            ledger,
            failover=True,
            conninfo=f"host=127.0.0.1,127.0.0.1 port={blue.server.port},{green.server.port} dbname=bank user={ROLE}",
        )
        journal.start()
        journal.await_state("streaming")
        kept = ledger.move(1, 2, key="kept")
        journal.catch_up()
        # The slot is copied now and then; only a copy that is not temporary any more survives the promotion.
        ready = "select 1 from pg_replication_slots where slot_name = %s and not temporary and synced"
        wait_until(lambda: green.query(ready, journal.slot) == [(1,)], "the slot is copied", 90)
        wait_until(lambda: _replayed(green) >= journal.confirmed(), "the replica has replayed")
        _cut_off(green)
        lost = [ledger.move(1, 2, key="lost-1"), ledger.move(3, 4, kind="deposit", key="lost-2")]
        journal.catch_up()
        end = journal.confirmed()
        wait_until(lambda: journal.contents().standing.acknowledged >= end, "the quorum is noted")
        # A server that stands is compared by position; what lies beyond is left out, and would be lost with blue.
        standing = _compare(Journal(Ledger(green, "bank"), journal.home, journal.settings))
        assert standing.matches, standing.differences
        assert standing.snapshot is None
        assert standing.left_out == 6
        assert {e.key for e in beyond.beyond(journal.contents(), standing.lsn, load_map(MAP).transactions)} == set(lost)
        blue.server.kill()
        green.query("select pg_promote()")
        journal.await_state("streaming")
        wait_until(lambda: journal.status()["position"]["timeline"] == 2, "the journal follows")
        moved = Ledger(green, "bank")
        moved.move(5, 6, key="after")
        after = Journal(moved, journal.home, journal.settings)
        after.catch_up()
        assert journal.status()["gaps"] == []
        mapped = load_map(MAP).transactions
        found = {each.key: each for each in beyond.abandoned(journal.contents(), mapped)}
        assert set(found) == set(lost)
        assert found["lost-1"].acknowledged
        assert {entry.account for entry in found["lost-1"].entries} == {"1", "2"}
        keys = [key for key in ("kept", "lost-1", "lost-2", "after") for row in journal.rows() if _is(row, key)]
        assert keys == ["kept", "lost-1", "lost-2", "after"]
        assert _compare(after).matches
        assert kept not in found
        # Given back with its own key, it is in the database again.
        moved.move(1, 2, key="lost-1")
        after.catch_up()
        assert beyond.given_back(journal.contents(), mapped) >= {"lost-1"}
        assert _compare(after).matches
        journal.kill()
        journal.start()
        journal.await_state("streaming")
        assert _compare(after).matches
    finally:
        green.server.stop()


def _is(row: dict[str, object], key: str) -> bool:
    return row["kind"] == "row" and f'"key": "{key}"' in str(row["detail"])


def _replayed(postgres: Postgres) -> int:
    return parse(str(postgres.query("select pg_last_wal_replay_lsn()::text")[0][0]))


def _cut_off(replica: Postgres) -> None:
    """It gets nothing more, as if the network between the two were gone."""
    replica.query("alter system set primary_conninfo = ''")
    replica.query("select pg_reload_conf()")
    wait_until(lambda: replica.query("select count(*) from pg_stat_wal_receiver") == [(0,)], "it receives nothing")


def _replica(primary: Postgres, home: Path) -> Postgres:
    from wallet_servers import Server, free_ports

    (port,) = free_ports(1)
    name = f"replica-{port}"
    argv = [str(primary.engine / "bin/pg_basebackup"), "-h", "127.0.0.1", "-p", str(primary.server.port)]
    argv += ["-U", primary.superuser, "-D", str(home / name), "-R", "-C", "-S", "replica", "-X", "stream", "-c", "fast"]
    copy = Server(f"{name}-copy", argv, 0, home)
    copy.start()
    assert copy.process is not None
    assert copy.process.wait(60) == 0
    with (home / name / "postgresql.auto.conf").open("a") as file:
        file.write(
            f"primary_conninfo = 'host=127.0.0.1 port={primary.server.port} user={primary.superuser} dbname=postgres'\n"
        )
    made = cluster(home, primary.engine, name, port, primary.superuser, {"sync_replication_slots": "on"})
    made.start()
    return made


def test_a_server_taken_back_without_a_new_timeline_stops_the_journal(
    new_postgres: Callable[..., Postgres], new_journal: Callable[..., Journal], journal_home: Path
) -> None:
    postgres = new_postgres()
    postgres.start()
    ledger = create_ledger(postgres, "bank")
    journal = new_journal(ledger)
    journal.start()
    journal.await_state("streaming")
    journal.stop()
    directory = Path(postgres.server.argv[postgres.server.argv.index("-D") + 1])
    postgres.server.stop()
    copy = directory.with_name(f"{directory.name}-copy")
    subprocess.run(["cp", "-a", str(directory), str(copy)], check=True)
    postgres.start()
    journal.start()
    journal.await_state("streaming")
    ledger.query("create table filler as select repeat('x', 100) from generate_series(1, 20000)")
    ledger.move(1, 2)
    journal.catch_up()
    journal.kill()
    postgres.server.stop()
    subprocess.run(["rm", "-rf", str(directory)], check=True)
    copy.rename(directory)
    postgres.start()
    journal.start()
    said = journal.await_state("stopped")
    assert "taken back without a new timeline" in said["why"]


def test_a_status_that_grows_old_is_not_measured(journal: Journal) -> None:
    journal.kill()
    assert journal.status()["state"] == "streaming"
    said = journal.home / "status.json"
    said.write_text(said.read_text().replace('"time_s": ', f'"time_s": {time.time() - 3600} , "was_s": '))
    assert journal.status()["state"] == "not measured"


__all__ = ["UNPRIVILEGED"]
