"""A check while the world goes on: written to, vacuumed, cut off, killed, two at once, on a replica, gently."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from books import EVERYTHING, MAP, Books, mapped, named, wrong

from benchmarks.ledger.server import Server
from siaga.errors import BadInput, Refused, SiagaError, Unreachable
from siaga.ledger import crosscheck, duckdb, findings, postgres_fingerprint, ranges
from siaga.ledger.crosscheck import check, statements_of
from siaga.ledger.duckdb import DuckDbEngine
from siaga.ledger.engine import Pace
from siaga.ledger.model import Grade, Name, Progress, Report, State, Verdict
from siaga.ledger.reading import GENTLE, EngineName, Options

every_engine = pytest.mark.parametrize("engine", ["fingerprint", "duckdb", "postgres"])
SMALL = Pace(workers=2, share=0.999)
"""Many small ranges of pages, so that there is something between them."""


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (duckdb, ranges):
        monkeypatch.setattr(module, "GENTLE_ROWS", 4_000)
    for module in (duckdb, postgres_fingerprint):
        monkeypatch.setattr(module, "POLL_S", 0.02)


@pytest.fixture
def large(books: Books) -> Books:
    """Ten such ranges of entries."""
    books.run(
        "insert into account select n, 0, 0 from generate_series(1001, 3000) n; "
        "insert into entry (account, amount, transfer, sequence, after) "
        "select 1001 + n % 2000, case when n % 2 = 0 then 5 else -5 end, 10000 + n / 2, 1 + n / 2000, "
        "(1 + n / 2000) * case when n % 2 = 0 then 5 else -5 end from generate_series(0, 39999) n; "
        "update account set version = 20, balance = case when id % 2 = 1 then 100 else -100 end where id > 1000"
    )
    books.run("vacuum analyze")
    return books


@every_engine
def test_a_ledger_that_is_written_to_meanwhile_is_judged_at_one_snapshot(large: Books, engine: EngineName) -> None:
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(large.dsn, autocommit=True) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                large.move(1001 + number % 1999, 1001 + (number * 7) % 1999, number % 50 + 1, connection)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            assert large.check(Options(engine=engine, pace=SMALL)).verdict is Verdict.VERIFIED
    finally:
        stop.set()
        writer.join()
    assert large.check(Options(engine=engine)).entries > 40_000


class Meanwhile:
    """Does something once, after the first range was read."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act: Callable[[], object] | None = act

    def __call__(self, progress: Progress) -> None:
        if self._act is not None and progress.phase == "reading" and progress.rows:
            act, self._act = self._act, None
            act()

    @property
    def done(self) -> bool:
        """Whether there was a meanwhile."""
        return self._act is None


def _meanwhile(large: Books, act: str, engine: EngineName) -> Report:
    def do() -> None:
        with psycopg.connect(large.dsn, autocommit=True) as connection:
            connection.execute(act)  # type: ignore[arg-type]  # a test's own text

    meanwhile = Meanwhile(do)
    options = Options(engine=engine, pace=replace(GENTLE, share=0.2))
    report = check(large.dsn, EVERYTHING, options, on_progress=meanwhile)
    assert meanwhile.done
    return report


@pytest.mark.parametrize("engine", ["fingerprint", "duckdb"])
@pytest.mark.parametrize("act", ["vacuum", "delete from entry"])
def test_what_happens_to_the_table_meanwhile_does_not_reach_the_snapshot(
    large: Books, act: str, engine: EngineName
) -> None:
    report = _meanwhile(large, act, engine)
    assert report.verdict is Verdict.VERIFIED, report.why
    assert report.entries >= 40_000


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize("engine", ["fingerprint", "duckdb"])
@pytest.mark.parametrize("act", ["vacuum full entry", "cluster entry using entry_pkey", "truncate entry"])
def test_a_table_that_is_rewritten_meanwhile_is_never_verified_nor_blamed(
    large: Books, act: str, engine: EngineName
) -> None:
    # Dead rows before the living ones: a rewrite moves these into pages that were read before.
    large.run("update entry set amount = amount where id < 20000")
    report = _meanwhile(large, act, engine)
    assert (report.verdict, report.verified, report.mismatched) == (Verdict.INCOMPLETE, 0, ())
    assert "rewritten" in report.why


@pytest.mark.clause("DRP-3.2b")
def test_a_table_that_is_rewritten_between_the_snapshot_and_the_first_look_is_never_verified(large: Books) -> None:
    # Such a rewrite is invisible to an old snapshot: both tables look empty to it, and 0 accounts agree with 0 entries.
    large.run("update account set balance = balance + 500 where id = 1500")
    with psycopg.connect(large.dsn) as other:
        other.execute("alter table account alter version type numeric; alter table entry alter sequence type numeric")
        found: list[Report | Exception] = []

        def judge() -> None:
            try:
                found.append(large.check())
            except SiagaError as error:
                found.append(error)

        checking = threading.Thread(target=judge)
        checking.start()
        _eventually(lambda: _waits(large), "the check does not wait for the lock")
        other.commit()
        checking.join(30)
    report = found[0]
    assert isinstance(report, SiagaError) or report.verdict is Verdict.INCOMPLETE, report


def test_rows_that_a_policy_hides_are_never_passed_over(books: Books) -> None:
    books.run("do $$ begin create role policed login; exception when duplicate_object then null; end $$")
    books.run("grant select on account, entry to policed; alter table account enable row level security")
    books.run("create policy hidden on account to policed using (id <> 4)")
    with pytest.raises(BadInput, match="row-level security hides rows of it from user `policed`"):
        check(books.server.dsn(books.database, "policed"), EVERYTHING)
    # Behind a view of that role nobody can ask: reading it is an error then.
    books.run("create view seen with (security_invoker) as select * from account; grant select on seen to policed")
    viewed = mapped(accounts={"table": "seen"})
    assert check(books.server.dsn(books.database, "policed"), viewed).verdict is Verdict.INCOMPLETE


def test_an_index_of_a_table_says_nothing_of_those_that_inherit_from_it(books: Books) -> None:
    books.run("create table later () inherits (entry); insert into later select * from entry where id = 1")
    books.run("delete from only entry where id = 1; update later set id = 2")
    assert named(books.check(), Name.UNIQUE_ENTRIES).failed == 1


def test_sums_alone_have_no_digest_of_verdicts(books: Books) -> None:
    books.run("update account set balance = balance + 1 where id = 3")
    report = books.check(Options(sums_only=True))
    assert (report.verdict, report.verdicts_digest) == (Verdict.MISMATCH, "")


def test_a_not_null_that_nobody_has_checked_is_not_believed(books: Books) -> None:
    books.run("alter table entry alter amount drop not null; update entry set amount = null where id = 5")
    books.run("alter table entry add constraint later not null amount not valid")
    assert books.check().verdict is Verdict.MISMATCH


def test_more_than_can_be_named_verifies_nobody(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "TRANSACTIONS_MAX", 3)
    monkeypatch.setattr(crosscheck, "TRANSACTIONS_MAX", 3)
    # Each account agrees with its own log; transactions do not sum to zero.
    books.run("update entry set transfer = id")
    report = books.check()
    assert (report.verdict, report.verified, report.listed) == (Verdict.MISMATCH, 0, False)
    assert report.verdicts_digest == ""


def test_a_connection_lost_in_mid_check_is_incomplete_and_verifies_nobody(large: Books) -> None:
    def cut() -> None:
        with large.server.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid() "
                "and application_name like 'siaga ledger %%'",
                [large.database],
            )

    meanwhile = Meanwhile(cut)
    report = check(large.dsn, EVERYTHING, Options(pace=replace(GENTLE, share=0.2)), on_progress=meanwhile)
    assert meanwhile.done
    assert report.verdict is Verdict.INCOMPLETE
    assert report.verified == 0
    assert all(found.state is State.NOT_RUN for found in report.checks)
    assert "cut short" in report.why


@every_engine
def test_a_statement_time_out_is_incomplete(large: Books, engine: EngineName) -> None:
    slow = "create function slow(bigint) returns bigint language sql volatile as 'select $1 from pg_sleep(0.01)'"
    large.run(slow)
    large.run("create view line as select account, slow(amount) as amount from entry")
    large.run(f"alter database {large.database} set statement_timeout = '1s'")
    bare = mapped(
        entries={"table": "line"} | dict.fromkeys(("id", "transaction", "sequence", "balance_after")),
    )
    report = large.check(Options(engine=engine), bare)
    assert report.verdict is Verdict.INCOMPLETE
    assert "timeout" in report.why


def test_a_role_that_may_not_read_is_told_what_to_grant(books: Books) -> None:
    books.run("do $$ begin create role nobody_in_particular login; exception when duplicate_object then null; end $$")
    with pytest.raises(BadInput, match=r"user `nobody_in_particular` may not read it") as refusal:
        check(books.server.dsn(books.database, "nobody_in_particular"), EVERYTHING)
    assert "grant select on account to nobody_in_particular" in refusal.value.hint


@every_engine
def test_a_role_that_may_only_select_is_enough(books: Books, engine: EngineName) -> None:
    books.run("do $$ begin create role reader_alone login; exception when duplicate_object then null; end $$")
    books.run("grant select on account, entry to reader_alone")
    report = check(books.server.dsn(books.database, "reader_alone"), EVERYTHING, Options(engine=engine))
    assert report.verdict is Verdict.VERIFIED


@every_engine
def test_a_role_that_may_select_some_columns_is_enough_for_a_map_of_those(books: Books, engine: EngineName) -> None:
    books.run("do $$ begin create role reader_some login; exception when duplicate_object then null; end $$")
    books.run(
        "grant select (id, balance) on account to reader_some; grant select (account, amount) on entry to reader_some"
    )
    bare = mapped(accounts={"version": None}, entries=dict.fromkeys(("id", "transaction", "sequence", "balance_after")))
    dsn = books.server.dsn(books.database, "reader_some")
    assert check(dsn, bare, Options(engine=engine)).verdict is Verdict.VERIFIED
    with pytest.raises(BadInput, match=r"entries.sequence = `sequence`: may not be read; grant select \(sequence\)"):
        check(dsn, EVERYTHING, Options(engine=engine))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accounts": {"table": "acount"}}, "no such table or view, did you mean `account`?"),
        ({"entries": {"table": "public.entries"}}, "no such table or view, did you mean `public.entry`?"),
        ({"entries": {"amount": "amnt"}}, "has no such column, did you mean `amount`?"),
        ({"accounts": {"balance": "label"}}, "text, expected an integer or numeric"),
        ({"accounts": {"balance": "approximate"}}, "floating point has no exact sums"),
    ],
)
def test_a_map_that_does_not_fit_is_refused_and_says_where(
    books: Books, changes: dict[str, dict[str, str]], words: str
) -> None:
    books.run("alter table account add label text, add approximate double precision")
    with pytest.raises(BadInput) as refusal:
        books.check(ledger_map=mapped(**changes))
    assert words in refusal.value.message


@pytest.mark.parametrize(
    "condition",
    ["no_such_column > 3", "amount >", "true) or (true", "true --", " ", "true then 1 end; select case when 1"],
)
def test_a_condition_that_is_none_is_refused_and_says_where(books: Books, condition: str) -> None:
    for table in ("accounts", "entries", "system_accounts"):
        with pytest.raises(BadInput, match=rf"{table}.where = "):
            books.check(ledger_map=mapped(**{table: {"where": condition}}))


def test_nobody_at_the_address_is_unreachable_and_repeats_no_password() -> None:
    with pytest.raises(Unreachable) as refusal:
        check("host=127.0.0.1 port=1 user=u dbname=d password=hush", EVERYTHING)
    assert "hush" not in str(refusal.value)


def test_a_password_given_by_siaga_itself_reaches_the_server_through_a_file(large: Books, tmp_path: Path) -> None:
    # The server trusts its loopback; what counts is that nobody can read it off a process, a message or a table.
    seen: list[str] = []

    def look() -> None:
        with large.server.connect() as connection:
            rows = connection.execute("select application_name || query from pg_stat_activity").fetchall()
        seen.extend(str(row[0]) for row in rows)

    report = check(f"{large.dsn} password=hush", EVERYTHING, Options(work=tmp_path), on_progress=Meanwhile(look))
    assert report.verdict is Verdict.VERIFIED
    assert not any("hush" in text for text in seen)
    assert (tmp_path / "passfile").stat().st_mode & 0o777 == 0o600


# --- stopped, killed, two at once --------------------------------------------------------------------------------


class Stopped(Exception):
    """A person pressed Ctrl-C."""


def _stop_after_the_first_range(monkeypatch: pytest.MonkeyPatch) -> None:
    read = DuckDbEngine._read
    done = threading.Event()

    def once(self: DuckDbEngine, *arguments: object) -> None:
        if done.is_set():
            raise Stopped
        read(self, *arguments)  # type: ignore[arg-type]
        done.set()

    monkeypatch.setattr(DuckDbEngine, "_read", once)


def test_a_stopped_check_is_taken_up_where_the_source_stood_still(
    large: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(work=tmp_path, pace=replace(GENTLE, share=0.9))
    with monkeypatch.context() as patched:
        _stop_after_the_first_range(patched)
        with pytest.raises(Stopped):
            large.check(options)
    report = large.check(options)
    assert report.verdict is Verdict.VERIFIED
    assert "took up a pass that was stopped" in report.notes[0]


@pytest.mark.parametrize("act", ["update account set version = version where id = 1", "vacuum full entry"])
def test_a_stopped_check_starts_over_where_the_source_moved_on(
    large: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    options = Options(work=tmp_path, pace=replace(GENTLE, share=0.9))
    with monkeypatch.context() as patched:
        _stop_after_the_first_range(patched)
        with pytest.raises(Stopped):
            large.check(options)
    large.run(act)
    report = large.check(options)
    assert report.verdict is Verdict.VERIFIED
    assert "started from the beginning" in report.notes[0]


def _command(books: Books, map_path: Path, *arguments: str) -> list[str]:
    script = "import sys; from siaga.cli.ledger import app; sys.exit(int(app(exit_on_error=False) or 0))"
    return [sys.executable, "-c", script, "check", "--dsn", books.dsn, "--map", str(map_path), "--json", *arguments]


@pytest.fixture
def map_path(tmp_path: Path) -> Path:
    lines = []
    for table, values in MAP.items():
        lines += [f"[{table}]", *(f'{key} = "{value}"' for key, value in values.items())]
    path = tmp_path / "map.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def stalled(large: Books) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Whoever reads the entries waits, in the middle of it, until this connection lets go."""
    large.run("alter table entry rename to line")
    large.run("create view entry as select line.* from (select pg_advisory_xact_lock_shared(7)) wait, line")
    connection = psycopg.connect(large.dsn)
    connection.execute("select pg_advisory_xact_lock(7)")
    yield connection
    connection.close()


def _waits(books: Books) -> bool:
    with books.server.connect() as connection:
        found = connection.execute(
            "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'", [books.database]
        ).fetchone()
    return bool(found and found[0])


def _eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_check_leaves_no_verdict_and_can_be_run_again(
    large: Books, map_path: Path, tmp_path: Path, stalled: psycopg.Connection[tuple[object, ...]], signum: int
) -> None:
    work = tmp_path / "work"
    process = subprocess.Popen(
        _command(large, map_path, "--work", str(work)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background job, as these tests may be, ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _eventually(lambda: _waits(large), "the check does not wait for the lock")
    process.send_signal(signum)
    stdout, _ = process.communicate(timeout=30)
    assert stdout == b""
    assert process.returncode != 0
    stalled.rollback()
    again = subprocess.run(_command(large, map_path, "--work", str(work)), capture_output=True, check=False)
    assert again.returncode == 0, again.stderr


def test_two_checks_at_once_do_not_share_a_work_directory(
    large: Books, map_path: Path, tmp_path: Path, stalled: psycopg.Connection[tuple[object, ...]]
) -> None:
    work = tmp_path / "work"
    process = subprocess.Popen(_command(large, map_path, "--work", str(work)), stdout=subprocess.PIPE)
    _eventually(lambda: _waits(large), "the check does not wait for the lock")
    stalled.rollback()
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Refused, match="another check works there"):
            large.check(Options(work=work))
        assert large.check().verdict is Verdict.VERIFIED, "each with a directory of its own"
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert process.wait(60) == 0


def test_a_full_disk_is_incomplete(large: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(signal, "SIGXFSZ", signal.SIGXFSZ)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        report = large.check(Options(work=tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert report.verdict is Verdict.INCOMPLETE
    assert report.verified == 0


# --- pace, depth, sums -------------------------------------------------------------------------------------------


def test_a_gentle_check_reads_by_one_connection_and_rests_between_ranges(large: Books) -> None:
    told: list[Progress] = []
    report = check(large.dsn, EVERYTHING, Options(pace=replace(GENTLE, share=0.2)), on_progress=told.append)
    assert report.verdict is Verdict.VERIFIED
    reading = [progress for progress in told if progress.phase == "reading"]
    assert reading[0].rows_expected >= 40_000
    assert any(progress.rows > 0 for progress in reading)


def test_sums_alone_find_what_sums_can_and_are_never_verified(large: Books) -> None:
    large.run("create index on entry (account) include (amount)")
    report = large.check(Options(sums_only=True))
    assert (report.verdict, report.grade, report.verified) == (Verdict.INCOMPLETE, Grade.SUMS, 0)
    assert named(report, Name.BALANCE).state is State.RUN
    assert named(report, Name.RUNNING_BALANCE).state is State.NOT_RUN
    large.run("update account set balance = balance + 3 where id = 4")
    report = large.check(Options(sums_only=True))
    assert (report.verdict, list(wrong(report))) == (Verdict.MISMATCH, ["4"])


def test_depth_needs_amcheck_and_says_so(books: Books) -> None:
    report = books.check(Options(deep=True))
    assert report.verdict is Verdict.INCOMPLETE
    assert "create extension amcheck" in named(report, Name.STRUCTURE).why
    books.run("create extension amcheck")
    report = books.check(Options(deep=True))
    assert report.verdict is Verdict.VERIFIED
    assert named(report, Name.STRUCTURE).state is State.RUN
    assert named(report, Name.UNIQUE_ENTRIES).state is State.RUN, "nothing that an index says is believed"


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_an_index_that_hides_a_row_is_found_and_does_not_mislead(books: Books, engine: EngineName) -> None:
    books.run("create extension amcheck; create index hides on entry (account) include (amount)")
    # The index is told that it has rows for fewer accounts than the table: a torn restore of one of the two.
    books.run("set allow_system_table_mods = on")
    books.run(
        "update pg_index set indisvalid = true where indexrelid = 'hides'::regclass; "
        "update pg_class set relfilenode = (select relfilenode from pg_class where relname = 'empty_index') "
        "where false"
    )
    path = books.connection.execute("select pg_relation_filepath('hides')").fetchall()[0][0]
    books.run("create table twin (like entry); create index empty_index on twin (account) include (amount); checkpoint")
    empty = books.connection.execute("select pg_relation_filepath('empty_index')").fetchall()[0][0]
    data = books.server.data
    books.connection.close()
    books.server.stop()
    (data / path).write_bytes((data / empty).read_bytes())
    books.server.start()
    books.connection = books.server.connect(books.database)
    report = books.check(Options(engine=engine, deep=True))
    assert named(report, Name.STRUCTURE).failed > 0
    assert report.verdict is Verdict.MISMATCH
    assert named(report, Name.BALANCE).failed == 0, "the pass believes no index"


def test_a_page_that_was_altered_on_disk_ends_the_check_incomplete(large: Books) -> None:
    path = large.connection.execute("select pg_relation_filepath('entry')").fetchall()[0][0]
    large.run("checkpoint")
    large.connection.close()
    large.server.stop()
    with (large.server.data / path).open("r+b") as file:
        file.seek(3 * 8192 + 5000)
        file.write(b"\xff\x00\xff\x00")
    large.server.start()
    large.connection = large.server.connect(large.database)
    report = large.check()
    assert report.verdict is Verdict.INCOMPLETE
    assert "invalid page" in report.why
    assert report.verified == 0


# --- replica -----------------------------------------------------------------------------------------------------


@pytest.fixture
def replica(server: Server, tmp_path: Path) -> Iterator[Server]:
    """A second server that follows the first."""
    base = Path("/tmp") / f"siaga-ledger-replica-{os.getpid()}" if os.geteuid() == 0 else tmp_path / "replica"  # noqa: S108
    base.mkdir(mode=0o755, exist_ok=True)
    follower = Server(base / "server")
    follower.adopt_copy_of(server)
    follower.start()
    yield follower
    follower.stop()
    subprocess.run(["rm", "-rf", str(base)], check=False)


def test_a_replica_is_read_at_one_snapshot_while_it_replays(large: Books, replica: Server) -> None:
    def caught_up() -> bool:
        here = large.connection.execute("select pg_current_wal_lsn()").fetchall()[0][0]
        with replica.connect() as connection:
            return bool(connection.execute("select pg_last_wal_replay_lsn() >= %s", [here]).fetchall()[0][0])

    _eventually(caught_up, "the replica does not follow")
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(large.dsn, autocommit=True) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                large.move(1001 + number % 1999, 1001 + (number * 7) % 1999, 5, connection)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for engine in ("duckdb", "duckdb", "postgres"):
            report = check(replica.dsn(large.database), EVERYTHING, Options(engine=engine, pace=SMALL))
            assert report.verdict is Verdict.VERIFIED, report.why
            assert report.position.in_recovery
    finally:
        stop.set()
        writer.join()


def test_every_statement_is_shown_before_anything_is_read(books: Books) -> None:
    shown = statements_of(books.dsn, EVERYTHING, Options(engine="duckdb"))
    assert any('from "public"."entry"' in statement for statement in shown)
    assert all(statement.strip().lower().startswith(("select", "with")) for statement in shown)
