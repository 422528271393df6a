"""`siaga state backup` and `restore`: what was copied comes back, or nothing changes; what is lost is said."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from platform_under_test import Answer
from state_directory import StateDirectory, calls_made, killed_at_call

from siaga.cli import output
from siaga.cli import state as cli
from siaga.controller import leadership_file, levers_file, state_backup
from siaga.controller import state as state_file
from siaga.errors import PlatformFault, SiagaError
from siaga.evidence.model import Record
from siaga.platform import account, layout
from siaga.platform.account import Home
from siaga.platform.layout import Layout
from siaga.site.load import from_json

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


def siaga(*arguments: str) -> Answer:
    """The command in this process: a hundred starts of an interpreter would prove nothing more."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.app(arguments, exit_on_error=False)
        except SystemExit as ended:
            code = int(ended.code or 0)
        except SiagaError as error:
            output.complaint(error)
            code = int(error.exit_code)
    return Answer(code, out.getvalue(), err.getvalue())


def laid_out_in_postgresql(place: Home) -> Layout:
    account.prepare(place, account.find())
    site = from_json(json.dumps({"name": "two", "embedded": True, "controller": {"state": "postgresql"}}))
    ports = dict(zip(layout.listeners(site), range(21_000, 22_000), strict=False))
    chosen = layout.resolve(place, site, ports)
    layout.save(chosen)
    chosen.secret("x").parent.mkdir(mode=0o700)
    return chosen


def backed_up(state: StateDirectory, name: str = "backup.tar") -> Path:
    path = state.layout.place.state.parent / name
    found, _ = state_backup.back_up(state.layout, path, NOW)
    assert found == path
    return path


def rewritten(source: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    """The archive with its members changed; None leaves one out."""
    target = source.with_name("changed.tar")
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for entry in old:
            content = old.extractfile(entry)
            assert content is not None
            changed = change(entry.name, content.read())
            if changed is not None:
                entry.name, body = changed
                entry.size = len(body)
                new.addfile(entry, io.BytesIO(body))
    return target


async def test_what_was_copied_comes_back_halted(state: StateDirectory) -> None:
    backup = backed_up(state)
    before = state.contents()
    state.add_run(99, 99)
    restored = siaga("restore", str(backup), "--json")
    assert restored.code == 0, restored.stderr
    assert state.runs() == [(0, 0), (1, 1), (2, 2)]
    assert len(state.records()) == 10
    halt = levers_file.load(state.controller / "levers.json", NOW).halt
    assert halt is not None and "siaga resume" in halt.reason
    aside = Path(restored.document["replaced"])
    assert sqlite3.connect(aside / "runbooks.sqlite").execute("select max(id) from runs").fetchone() == (99,)
    after = state.contents()
    for name in ("platform.json", "secrets/wallet-app", "controller/evidence/origin"):
        assert after[name] == before[name]
    await state.record(1)
    assert len(state.records()) == 11, "the evidence goes on"


async def test_a_backup_is_for_its_owner_alone_and_overwrites_nothing(state: StateDirectory) -> None:
    backup = backed_up(state)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    content = backup.read_bytes()
    again = siaga("backup", str(backup))
    assert again.code == 2
    assert "exists, expected a new file" in again.stderr
    assert backup.read_bytes() == content
    into = siaga("backup", str(backup.parent), "--json")
    assert into.code == 0, into.stderr
    assert Path(into.document["file"]).parent == backup.parent
    assert (into.document["records"], into.document["origin"]) == (10, "siaga/embedded/1")
    missing = siaga("backup", str(backup.parent / "no/such/place.tar"))
    assert missing.code == 2
    assert not list(backup.parent.glob(".siaga-backup-*"))


async def test_a_copy_taken_while_runs_go_on_has_evidence_of_every_run_in_its_journal(state: StateDirectory) -> None:
    """Each run is recorded, then journaled, as the engine does it; the copies are taken in between and amid."""
    ended = threading.Event()

    def copy() -> None:
        for number in range(3):
            backed_up(state, f"backup-{number}.tar")
        ended.set()

    copying = threading.Thread(target=copy)
    copying.start()
    number = 1000
    async with state.log() as log:
        while not ended.is_set():
            state.add_run(number, await log.append(Record("test.run", "ana", "SUM", "begun")))
            number += 1
    copying.join()
    assert number > 1005
    seen = set()
    for copied in range(3):
        restored = siaga("restore", str(state.layout.place.state.parent / f"backup-{copied}.tar"), "--json")
        assert restored.code == 0, restored.stderr
        with tarfile.open(state.layout.place.state.parent / f"backup-{copied}.tar") as archive:
            manifest = json.load(archive.extractfile("manifest.json") or io.BytesIO())
        assert max(evidence for _, evidence in state.runs()) < manifest["records"]
        seen.add(manifest["records"])
    assert len(seen) > 1, "the copies were taken while records came in"


async def test_a_restore_is_refused_while_a_controller_runs(state: StateDirectory) -> None:
    backup = backed_up(state)
    before = state.contents()
    for shared in (False, True):
        lock = leadership_file.hold(state.controller, leadership_file.LOCK, shared=shared)
        refused = siaga("restore", str(backup))
        os.close(lock)
        assert refused.code == 4
        assert "siaga down" in refused.stderr
    assert state.contents() == before


async def test_a_dry_run_checks_everything_and_changes_nothing(state: StateDirectory) -> None:
    backup = backed_up(state)
    await state.record(3)
    before = state.contents()
    planned = siaga("restore", str(backup), "--dry-run", "--json")
    assert planned.code == 0, planned.stderr
    assert (planned.document["evidence"], planned.document["records"]) == ("kept", 13)
    assert state.contents() == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda n, c: (n, c[:-1] + bytes([c[-1] ^ 1])) if n.endswith("epoch") else (n, c), "epoch` has 2 bytes"),
        (lambda n, c: None if n.endswith("epoch") else (n, c), "epoch` is missing"),
        (lambda n, c: None if n == "manifest.json" else (n, c), "has no manifest"),
        (lambda n, c: ("controller/new", c) if n.endswith("epoch") else (n, c), "its manifest does not name"),
        (lambda n, c: ("controller/../../x", c) if n.endswith("epoch") else (n, c), "expected only the controllers"),
        (lambda n, c: ("/etc/x", c) if n.endswith("epoch") else (n, c), "expected only the controllers"),
        (lambda n, c: (n, c.replace(b'"format": 1', b'"format": 9')), "not a backup of siaga's state that this"),
        (lambda n, c: (n, c.replace(b'"state_format": 0', b'"state_format": 9')), "state format 9"),
        (lambda n, c: (n, c.replace(b'"site": "embedded"', b'"site": "other"')), "site `other`"),
    ],
)
async def test_a_changed_backup_is_refused_by_name_and_nothing_changes(
    state: StateDirectory, damage: Callable[[str, bytes], tuple[str, bytes] | None], said: str
) -> None:
    backup = rewritten(backed_up(state), damage)
    before = state.contents()
    refused = siaga("restore", str(backup))
    assert refused.code == 2, refused.stderr
    assert said in refused.stderr.replace("\n", " ")
    assert state.contents() == before


async def test_a_file_that_is_no_backup_or_was_cut_off_is_refused(state: StateDirectory) -> None:
    backup = backed_up(state)
    before = state.contents()
    cut = backup.with_name("cut.tar")
    cut.write_bytes(backup.read_bytes()[: backup.stat().st_size // 2])
    empty = backup.with_name("empty.tar")
    empty.touch()
    link = backup.with_name("link.tar")
    with tarfile.open(link, "w") as archive:
        entry = tarfile.TarInfo("controller/epoch")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    for source in (cut, empty, link, backup.with_name("nothing.tar"), Path("/bin/sh")):
        refused = siaga("restore", str(source))
        assert refused.code == 2, (source, refused.stderr)
    assert state.contents() == before


async def test_evidence_that_goes_on_from_the_backup_stays(state: StateDirectory) -> None:
    backup = backed_up(state)
    await state.record(5)
    state.witness_has_seen(15)
    restored = siaga("restore", str(backup), "--json")
    assert restored.code == 0, restored.stderr
    assert restored.document["evidence"] == "kept"
    assert restored.document["lost"] is None
    assert len(state.records()) == 15


async def test_records_that_the_witness_saw_are_lost_only_when_somebody_answers_for_it(state: StateDirectory) -> None:
    backup = backed_up(state)
    await state.record(5)
    state.witness_has_seen(15)
    shutil.rmtree(state.evidence)
    before = state.contents()
    refused = siaga("restore", str(backup))
    assert refused.code == 4
    assert "records 10 to 14" in refused.stderr.replace("\n", " ")
    assert "--accept-loss" in refused.stderr
    assert state.contents() == before
    accepted = siaga("restore", str(backup), "--accept-loss", "the disk burned", "--json")
    assert accepted.code == 0, accepted.stderr
    assert (accepted.document["lost"], accepted.document["origin"]) == ([10, 14], "siaga/embedded/2")
    version = state_file.read(state.controller)
    assert version.generation == 2
    async with state.log() as log:
        await state_file.begin_generation(version, log, log.size)
        (first,) = await log.latest(1)
    assert (first["kind"], first["reason"], first["number"]) == ("evidence.continued", "the disk burned", 0)
    assert (first["figures"]["origin"], first["figures"]["last_lost"]) == ("siaga/embedded/1", 14)
    assert len(list((state.controller / "evidence/log").iterdir())) >= 1, "the old log is there to be read"


async def test_damaged_evidence_here_is_replaced_and_the_loss_named(state: StateDirectory) -> None:
    backup = backed_up(state)
    await state.record(5)
    (segment,) = (state.evidence / "log").glob("*.jsonl")
    content = segment.read_bytes()
    segment.write_bytes(
        content.replace(b'"reason":"reason 2","run":"","time"', b'"reason":"reason 7","run":"","time"', 1)
    )
    state.witness_has_seen(15)
    refused = siaga("restore", str(backup))
    assert refused.code == 4
    said = refused.stderr.replace("\n", " ")
    assert "record 2" in said and "records 10 to 14" in said


async def test_a_log_that_followed_a_lost_one_is_not_given_up_for_an_older_backup(state: StateDirectory) -> None:
    backup = backed_up(state)
    state.witness_has_seen(15)
    assert siaga("restore", str(backup), "--accept-loss", "the disk burned").code == 0
    await state.record(4)
    (state.controller / "keys-2").mkdir()
    again = siaga("restore", str(backup), "--json")
    assert again.code == 0, again.stderr
    assert (again.document["evidence"], again.document["records"]) == ("kept", 4)
    assert again.document["origin"] == "siaga/embedded/2"
    assert (state_file.read(state.controller).continues or {})["reason"] == "the disk burned"
    assert (state.controller / "keys-2").is_dir(), "what signs it comes along"
    state.witness_has_seen(4)
    shutil.rmtree(state.evidence)
    refused = siaga("restore", str(backup))
    assert refused.code == 4
    assert "records 0 to 3 of `siaga/embedded/2`" in refused.stderr.replace("\n", " ")


async def test_on_a_new_machine_everything_comes_back_and_the_epoch_is_beyond_any_before(
    state: StateDirectory, directories: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = backed_up(state)
    before = state.contents()
    monkeypatch.setenv("SIAGA_HOME", str(directories() / "new"))
    restored = siaga("restore", str(backup), "--json")
    assert restored.code == 0, restored.stderr
    assert restored.document["secrets_restored"] == ["controller-token", "wallet-app"]
    assert restored.document["epoch"] == 1_000_007
    new = Path(os.environ["SIAGA_HOME"])
    for name in ("platform.json", "secrets/controller-token", "controller/evidence/origin"):
        assert (new / name).read_bytes() == before[name]
    owners = {path.stat().st_uid for path in new.rglob("*")}
    assert owners == {new.stat().st_uid}
    assert stat.S_IMODE((new / "secrets/controller-token").stat().st_mode) == 0o600


async def test_a_secret_that_was_changed_since_stays(state: StateDirectory) -> None:
    backup = backed_up(state)
    state.layout.secret("wallet-app").write_text("rotated since")
    state.layout.secret("controller-token").unlink()
    restored = siaga("restore", str(backup), "--json")
    assert restored.document["secrets_restored"] == ["controller-token"]
    assert state.layout.secret("wallet-app").read_text() == "rotated since"


async def test_an_epoch_never_goes_back(state: StateDirectory) -> None:
    backup = backed_up(state)
    (state.controller / "epoch").write_text("23\n")
    assert siaga("restore", str(backup)).code == 0
    assert leadership_file.read_epoch(state.controller / "epoch") == 23


async def test_state_in_postgresql_stays_there_and_the_rest_comes_back(
    directories: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIAGA_HOME", str(directories() / "home"))
    chosen = laid_out_in_postgresql(account.home())
    controller = chosen.directory("controller")
    controller.mkdir(mode=0o700)
    (controller / "epoch").write_text("7\n")
    (controller / "levers.json").write_text("damaged")
    target = chosen.place.state.parent / "backup.tar"
    made = siaga("backup", str(target), "--json")
    assert made.code == 0, made.stderr
    assert "pg_dump" in made.stderr, "said, and not on stdout"
    assert made.document["state"] == "postgresql"
    (controller / "epoch").unlink()
    restored = siaga("restore", str(target), "--json")
    assert restored.code == 0, restored.stderr
    assert (restored.document["records"], restored.document["lost"]) == (None, None)
    assert leadership_file.read_epoch(controller / "epoch") == 1_000_007
    accepted = siaga("restore", str(target), "--accept-loss", "the database burned", "--json")
    assert accepted.document["origin"] == "siaga/two/2"


async def test_a_full_disk_leaves_no_backup_behind(state: StateDirectory) -> None:
    target = state.layout.place.state.parent / "big.tar"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    for full_bytes, said in ((4096, "can't be copied"), (1 << 20, "the backup was not written")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (full_bytes, limit[1]))
        try:
            with pytest.raises(PlatformFault, match=said):
                state_backup.back_up(state.layout, target, NOW)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in target.parent.iterdir()] == ["home"]


async def test_a_journal_that_a_crash_left_half_written_is_copied_whole(state: StateDirectory) -> None:
    script = (
        "import sqlite3, sys, os, signal\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('pragma cache_size = 1')\n"
        "c.execute('begin immediate')\n"
        "c.executemany('insert into runs values (?, ?)', [(n, n) for n in range(5000, 25000)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(state.journal)], check=False)
    assert state.journal.with_name("runbooks.sqlite-journal").exists()
    backup = backed_up(state)
    assert siaga("restore", str(backup)).code == 0
    assert state.runs() == [(0, 0), (1, 1), (2, 2)]


async def test_a_restore_killed_at_any_moment_leaves_the_old_state_or_the_new_one(state: StateDirectory) -> None:
    backup = backed_up(state)
    whole = [(0, 0), (1, 1), (2, 2)]
    ended = set()

    def restore() -> None:
        siaga("restore", str(backup))

    def judge() -> None:
        # Whole, and one of the two.
        assert state.runs() in (whole, [*whole, (99, 99)])
        assert len(state.records()) == 10
        ended.add(len(state.runs()))

    low, high = 0, calls_made(restore)
    for _ in range(24):
        if state.runs() == whole:
            state.add_run(99, 99)
        # Ever closer to the call that exchanges old and new.
        number = (low + high) // 2
        killed_at_call(restore, number)
        judge()
        low, high = (number, high) if state.runs() != whole else (low, number)
        if high - low <= 1:
            break
    for number in range(1, low, max(1, low // 16)):
        assert killed_at_call(restore, number)
        judge()
    assert ended == {3, 4}, "killed before the exchange and after it"
    assert siaga("restore", str(backup)).code == 0
    assert not list(state.layout.place.state.glob(".restore-*"))
