"""The journal's own files: cut anywhere, closed, forked and read again, they hold each transaction once."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siaga.errors import Refused
from siaga.journal import columnar, segments, state
from siaga.journal.frames import Damaged
from siaga.journal.gaps import Branch
from siaga.journal.records import ENTRY_FIELDS, Record
from siaga.journal.store import Store
from siaga.journal.verify import verify
from siaga.ledger.accumulators import Accumulator, Key, Shape

pytestmark = pytest.mark.clause("DRP-3.2b")

SHAPE = Shape(("account", "transaction", "amount"), frozenset({"account"}), 0)


def _base(directory: Path, name: str = "base.parquet") -> Record:
    """An empty ledger as the base."""
    text = directory / "base.rows"
    columnar.write_rows(text, [])
    fields = dict.fromkeys(columnar.ACCUMULATOR_FIELDS, "VARCHAR")
    with columnar.database(directory) as engine:
        digest = columnar.write_parquet(engine, f"from {columnar.rows_from(text, fields)}", directory / name)
    stands = {"system": "s", "timeline": 1, "lsn": "0/1", "snapshot": ""}
    document = {"file": name, "sha256": digest, "shape": state.shape_document(SHAPE), "map": "", "tables": []}
    return ["base", document | stands]


def _transaction(at: int) -> list[Record]:
    """One transfer that commits at position `at`."""
    drawn = random.Random(at)
    debit, credit = drawn.sample("abcdef", 2)
    amount = drawn.randint(1, 10**30)

    def entry(account: str, value: int) -> Record:
        fields = {"account": account, "transaction": str(at), "amount": str(value)}
        return ["entry", *(fields.get(name) for name in ENTRY_FIELDS)]

    return [["begin", at, at, 0], entry(debit, -amount), entry(credit, amount), ["commit", at + 5]]


def _new(directory: Path, log_bytes_max: int = 1 << 20) -> Store:
    store = Store(directory, log_bytes_max=log_bytes_max)
    if not store.is_open:
        store.begin("s", 1, 1, (), [_base(directory)])
    return store


def _transactions(directory: Path) -> list[str]:
    contents = segments.load(directory)
    rows = segments.transactions(contents, segments.EVERYTHING)
    return [row[segments.LSN] for _, row in rows if row[0] == "entry"][::2]


def _accumulators(directory: Path) -> dict[Key, Accumulator]:
    contents = segments.load(directory)
    kept = state.kept(directory, contents.standing)
    later = state.later(contents, kept.through, SHAPE)
    with columnar.database(directory) as engine:
        columnar.load_accumulators(engine, directory, kept.path, later.found, "found")
        rows = engine.execute("from found").fetchall()
    return {(row[0], row[1]): Accumulator(*map(int, row[2:])) for row in rows}


def _folded(positions: Iterator[int]) -> dict[Key, Accumulator]:
    delta = state.Delta(SHAPE)
    for at in positions:
        delta.fold(_transaction(at))
    return delta.found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.data())
def test_a_log_cut_at_any_byte_holds_whole_batches_and_goes_on(batches: list[int], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        store = _new(directory)
        ends = {store.position: segments.log_path(directory, 1).stat().st_size}
        positions = iter(range(10, 10_000, 10))
        for size in batches:
            store.append([r for _ in range(size) for r in _transaction(next(positions))], whole=True)
            ends[store.position] = segments.log_path(directory, 1).stat().st_size
        store.close()
        log = segments.log_path(directory, 1)
        begun = min(ends.values())
        cut = data.draw(st.integers(begun, log.stat().st_size))
        os.truncate(log, cut)
        contents = segments.load(directory)
        assert verify(contents) == []
        assert len([*segments.log_frames(contents.logs[-1])]) == sum(end <= cut for end in ends.values()), "a torn one"
        store = Store(directory, log_bytes_max=1 << 20)
        held = max(position for position, end in ends.items() if end <= cut)
        assert store.position == held
        # The server sends again what lies beyond.
        for at in range(10, next(positions), 10):
            if at >= held:
                store.append(_transaction(at), whole=True)
        store.close()
        assert _transactions(directory) == list(range(10, 10 * sum(batches) + 10, 10))
        assert verify(segments.load(directory)) == []
        assert _accumulators(directory) == _folded(iter(_transactions(directory)))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_flipped_byte_of_a_log_is_found(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        store = _new(directory)
        for at in range(10, 60, 10):
            store.append(_transaction(at), whole=True)
        store.close()
        log = segments.log_path(directory, 1)
        content = bytearray(log.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        log.write_bytes(content)
        contents = segments.load(directory)
        assert len(verify(contents)) == 1, "also where a length was altered: it is not taken for a frame cut short"
        assert contents.standing.position is None or contents.standing.position.at < 55


def test_zeros_that_a_power_cut_leaves_are_a_frame_cut_short(directory: Path) -> None:
    store = _new(directory)
    store.append(_transaction(10), whole=True)
    log = segments.log_path(directory, 1)
    begun = log.stat().st_size
    store.append(_transaction(20), whole=True)
    store.close()
    size = log.stat().st_size
    os.truncate(log, begun + 60)
    os.truncate(log, size - 5)
    contents = segments.load(directory)
    assert verify(contents) == []
    assert contents.logs[-1].end == begun


@pytest.mark.parametrize("frame", [1, 2, 5])
def test_a_length_that_was_altered_is_no_frame_cut_short(directory: Path, frame: int) -> None:
    store = _new(directory)
    log, starts = segments.log_path(directory, 1), [0]
    for at in range(10, 60, 10):
        starts.append(log.stat().st_size)
        store.append(_transaction(at), whole=True)
    store.close()
    content = bytearray(log.read_bytes())
    content[starts[frame] + 1] ^= 1
    log.write_bytes(content)
    (fault,) = verify(segments.load(directory))
    assert f"frame {frame + 1} at byte {starts[frame]} says it has" in fault


def test_a_large_transaction_cut_in_its_midst_leaves_nothing_of_itself(directory: Path) -> None:
    store = _new(directory)
    store.append(_transaction(10), whole=True)
    begin, debit, credit, commit = _transaction(20)
    store.append([begin, debit], whole=False)
    store.append([credit], whole=False)
    store.close()
    store = Store(directory, log_bytes_max=1 << 20)
    assert store.position == 15
    assert _transactions(directory) == [10]
    store.append([begin, debit], whole=False)
    store.append([credit, commit], whole=True)
    store.close()
    assert _transactions(directory) == [10, 20]
    assert _accumulators(directory) == _folded(iter((10, 20)))


@pytest.mark.parametrize("keep_deltas", [True, False])
def test_closed_logs_are_sealed_and_folded_and_a_restart_finds_the_same_sums(
    directory: Path, keep_deltas: bool
) -> None:
    store = _new(directory, log_bytes_max=2000)
    for at in range(10, 1010, 10):
        store.append(_transaction(at), whole=True)
        if store.settle():
            store.close_all()
    store.close()
    contents = segments.load(directory)
    assert len(contents.seals) > 10
    assert verify(contents) == []
    expected = _folded(iter(range(10, 1010, 10)))
    assert _accumulators(directory) == expected
    if not keep_deltas:
        for path in directory.glob("*.delta.json"):
            path.unlink()
    Store(directory, log_bytes_max=2000).close()
    assert _accumulators(directory) == expected
    assert _transactions(directory) == list(range(10, 1010, 10))


def test_a_log_that_was_full_when_its_writer_died_is_closed_by_the_next_one(directory: Path) -> None:
    store = _new(directory, log_bytes_max=1000)
    for at in range(10, 310, 10):
        store.append(_transaction(at), whole=True)
        store.settle()
    store.close()
    assert len(segments.load(directory).logs) > 3
    store = Store(directory, log_bytes_max=1000)
    store.close_all()
    store.close()
    assert len(segments.load(directory).logs) == 1
    assert _transactions(directory) == list(range(10, 310, 10))


def test_a_fork_takes_back_what_the_database_lost_and_twice_takes_it_once(directory: Path) -> None:
    store = _new(directory, log_bytes_max=1000)
    for at in range(10, 210, 10):
        store.append(_transaction(at), whole=True)
        store.settle()
    store.begin("s", 2, 150, (Branch(1, 150),), [["fork", {"system": "s", "timeline": 2, "at": "0/96"}]])
    store.append(_transaction(151), whole=True)
    assert store.standing.forks[0].at == 150
    store.begin("s", 3, 100, (Branch(1, 100),), [["fork", {"system": "s", "timeline": 3, "at": "0/64"}]])
    store.append(_transaction(101), whole=True)
    expected = _folded(iter((*range(10, 100, 10), 101)))
    assert _sums(directory) == expected
    store.close_all()
    store.close()
    assert _sums(directory) == expected
    for path in directory.glob("*.delta.json"):
        path.unlink()
    Store(directory, log_bytes_max=1000).close()
    assert _sums(directory) == expected
    contents = segments.load(directory)
    rows = [row for fork in contents.standing.forks for row in segments.taken_by(contents, fork)]
    taken = [row[segments.LSN] for row in rows if row[0] == "entry"]
    assert sorted(taken) == sorted([*range(100, 210, 10), 151] * 2)


def _sums(directory: Path) -> dict[Key, Accumulator]:
    return {key: sums for key, sums in _accumulators(directory).items() if sums.count}


def test_sums_of_what_was_cut_off_are_not_used_once_the_log_grows_again(directory: Path) -> None:
    store = _new(directory)
    store.append(_transaction(10), whole=True)
    size = segments.log_path(directory, 1).stat().st_size
    store.append(_transaction(20), whole=True)
    store.close()
    contents = segments.load(directory)
    kept = state.delta_of(contents, contents.logs[0], SHAPE)
    state.write_delta(directory, 1, kept, contents.head)
    # What had been acknowledged is gone, and the server sends something else.
    os.truncate(segments.log_path(directory, 1), size)
    store = Store(directory, log_bytes_max=1 << 20)
    store.append(_transaction(30), whole=True)
    store.append(_transaction(40), whole=True)
    store.close()
    assert _accumulators(directory) == _folded(iter((10, 30, 40)))


def test_a_log_that_is_missing_in_the_middle_is_named_and_what_follows_put_aside(directory: Path) -> None:
    store = _new(directory, log_bytes_max=500)
    for at in range(10, 60, 10):
        store.append(_transaction(at), whole=True)
        store.settle()
    store.close()
    segments.log_path(directory, 3).unlink()
    faults = verify(segments.load(directory))
    assert faults[0] == "0000000004.log follows a log that is damaged or missing"
    store = Store(directory, log_bytes_max=500)
    assert store.number == 2
    assert segments.log_path(directory, 4).with_suffix(".log.cut").exists()
    store.close()


def test_a_second_writer_is_refused(directory: Path) -> None:
    store = _new(directory)
    with pytest.raises(Refused, match="another consumer"):
        Store(directory, log_bytes_max=1000)
    store.close()


def test_a_seal_taken_out_or_altered_is_damage(directory: Path) -> None:
    store = _new(directory, log_bytes_max=500)
    for at in range(10, 110, 10):
        store.append(_transaction(at), whole=True)
        store.settle()
    store.close_all()
    store.close()
    seal = segments.seal_path(directory, 2)
    kept = seal.read_bytes()
    seal.write_bytes(kept.replace(b'"transactions": ', b'"transactions": 9'))
    with pytest.raises(Damaged, match="not the seal that follows"):
        segments.load(directory)
    seal.write_bytes(kept[:-20])
    with pytest.raises(Damaged, match="is not a seal"):
        segments.load(directory)
    seal.unlink()
    with pytest.raises(Damaged, match="is missing"):
        segments.load(directory)


def test_a_failed_write_leaves_the_log_as_it_was(directory: Path) -> None:
    store = _new(directory)
    store.append(_transaction(10), whole=True)
    size = segments.log_path(directory, 1).stat().st_size
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
    try:
        with pytest.raises(OSError, match="large"):
            store.append(_transaction(20), whole=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert segments.log_path(directory, 1).stat().st_size == size
    store.append(_transaction(20), whole=True)
    store.close()
    assert _transactions(directory) == [10, 20]
