"""Checkpoints with a real witness: taken, waited for, refused, carried over changes of keys."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from siaga.errors import BadInput, Refused, Unreachable
from siaga.evidence.checkpoint_file import CheckpointFile
from siaga.evidence.checkpoints import Checkpoints
from siaga.evidence.coverage import INTERVAL_S
from siaga.evidence.model import Record, Unrecorded
from siaga.evidence.notes import fingerprint, parse_handover
from siaga.evidence.signatures import parse_checkpoint, parse_note
from siaga.evidence.signers import Signers
from siaga.evidence.witness_client import WitnessRefused
from siaga.evidence.witnessed import WitnessedEvidence
from siaga.sop.adherence import Adherence, Standing, aged

pytestmark = pytest.mark.clause("SUM")

ACT = Record("test.act", "tester", "SUM", "an act")


class Site:
    """One log's checkpoints, and a clock that moves when it is told to."""

    def __init__(self, directory: Path, log: Any, witness: Any, copies: Path | None = None) -> None:
        self.directory, self.log, self.witness, self.copies = directory, log, witness, copies
        self.now, self.monotonic_s = datetime(2026, 11, 25, 5, tzinfo=UTC), 1000.0
        (directory / "evidence").mkdir(exist_ok=True)
        self.start()

    def start(self, epoch: int = 0) -> None:
        self.service = Checkpoints(
            self.log,
            self.witness.client,
            CheckpointFile(self.directory / "evidence", self.copies),
            self.log.append,
            keys_directory=self.directory / "keys",
            now_monotonic_s=self.monotonic_s,
            epoch=epoch,
        )
        self.evidence = WitnessedEvidence(self.log, self.service)

    async def pass_after(self, seconds: float) -> Standing:
        self.now += timedelta(seconds=seconds)
        self.monotonic_s += seconds
        await self.service.run_pass(self.now, self.monotonic_s)
        return self.standing

    async def take(self) -> int:
        return (await self.service.take(self.now, self.monotonic_s)).size

    @property
    def standing(self) -> Standing:
        return self.service.standing(self.monotonic_s)

    @property
    def sizes(self) -> list[int]:
        return [json.loads(line)["size"] for line in self.lines]

    @property
    def lines(self) -> list[str]:
        path = self.directory / "evidence/checkpoints.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def pending(self) -> Path:
        return self.directory / "evidence/checkpoint.pending.json"


@pytest.fixture
def site(witness: Any, log: Any, directories: Callable[[], Path]) -> Site:
    return Site(directories(), log, witness)


async def test_a_checkpoint_is_taken_once_an_interval_and_only_when_something_was_recorded(site: Site) -> None:
    assert (await site.pass_after(5)).adherence is Adherence.NOT_MEASURED
    await site.log.grow(3)
    # The first answer of a witness pins it, and that is a record of its own.
    assert site.log.kinds()[0] == "evidence.witness_pinned"
    assert (await site.pass_after(INTERVAL_S)).adherence is Adherence.HOLDS
    assert site.sizes == [4]
    for _ in range(3):
        assert (await site.pass_after(INTERVAL_S)).adherence is Adherence.HOLDS
    assert site.sizes == [4]
    await site.log.grow(1)
    await site.pass_after(INTERVAL_S)
    assert site.sizes == [4, 5]


async def test_a_standing_says_when_it_was_looked_at_last(site: Site) -> None:
    assert site.standing.observed_at is None
    looked_at = (await site.pass_after(5)).observed_at
    site.now += timedelta(seconds=90)
    site.monotonic_s += 90
    assert site.standing.observed_at == looked_at
    assert aged(site.standing, site.now).adherence is Adherence.NOT_MEASURED


async def test_what_it_says_of_itself_names_keys_by_fingerprint(site: Site) -> None:
    await site.log.grow(3)
    await site.take()
    said = json.loads(json.dumps(site.service.describe()))
    assert (said["records"], said["witnessed"], said["closed"]) == (4, 3, "")
    assert said["witness_key"] == fingerprint((await site.witness.client.public_key()).key)
    assert (site.directory / "keys/log.key").read_text().split("+", 4)[4].strip() not in str(said)


async def test_a_milestone_is_witnessed_at_once(site: Site) -> None:
    with pytest.raises(Refused, match="nothing is recorded yet"):
        await site.take()
    await site.log.grow(3)
    assert await site.take() == 3
    await site.log.grow(1)
    # The record of the first meeting lies in between.
    assert await site.take() == 5


async def test_it_goes_on_after_a_restart_from_what_is_on_disk(site: Site) -> None:
    await site.log.grow(3)
    await site.take()
    site.start()
    assert site.service.witnessed is not None
    assert site.service.witnessed.size == 3
    await site.log.grow(2)
    assert await site.take() == 6
    assert site.log.kinds().count("evidence.witness_pinned") == 1


async def test_while_the_witness_is_away_the_newest_checkpoint_waits_and_is_cosigned_later(site: Site) -> None:
    await site.log.grow(3)
    await site.take()
    site.witness.kill()
    await site.log.grow(2)
    assert (await site.pass_after(INTERVAL_S)).adherence is Adherence.HOLDS
    assert json.loads(site.pending.read_text())["size"] == 6
    with pytest.raises(Unreachable):
        await site.take()
    standing = await site.pass_after(3 * INTERVAL_S)
    assert standing.adherence is Adherence.AT_RISK
    assert "no answer from the witness for 240 s" in standing.why
    assert await site.evidence.append(ACT) == 6, "the log goes on without the witness"
    site.witness.start()
    assert (await site.pass_after(5)).adherence is Adherence.HOLDS
    assert site.sizes == [3, 6]
    assert not site.pending.exists()


async def test_a_clock_that_is_set_back_or_forward_changes_no_judgement(site: Site) -> None:
    await site.log.grow(3)
    await site.pass_after(INTERVAL_S)
    for jump in (-timedelta(hours=30), timedelta(days=400)):
        site.now += jump
        await site.log.grow(1)
        assert (await site.pass_after(INTERVAL_S)).adherence is Adherence.HOLDS
        assert site.sizes[-1] == site.log.size


async def test_a_log_copied_back_from_yesterday_closes_the_evidence_until_it_is_restored(site: Site) -> None:
    await site.log.grow(9)
    await site.take()
    today = list(site.log.leaves)
    del site.log.leaves[5:]
    with pytest.raises(WitnessRefused, match="5 records shown, 9 seen: records 5 to 8 are lost"):
        await site.take()
    standing = site.standing
    assert standing.adherence is Adherence.BROKEN
    assert "records 5 to 8 are lost" in standing.why
    with pytest.raises(Unrecorded, match="nothing is recorded while the witness refuses"):
        await site.evidence.append(ACT)
    before = site.log.size
    await site.evidence.append_exempt(ACT)
    assert site.log.size == before + 1, "what may not wait is recorded all the same"
    site.log.leaves = today
    await site.pass_after(INTERVAL_S)
    assert await site.evidence.append(ACT) == 10
    # What happened stays visible until a person has looked.
    assert site.standing.adherence is Adherence.BROKEN
    await site.service.acknowledge("rina", "restored from the copy of 05:00")
    assert (await site.pass_after(5)).adherence is Adherence.HOLDS
    assert site.log.kinds()[-1] == "evidence.refusal_acknowledged"
    with pytest.raises(Refused, match="remembers no refusal"):
        await site.service.acknowledge("rina", "again")


async def test_a_log_that_was_rewritten_closes_the_evidence(site: Site) -> None:
    await site.log.grow(9)
    await site.take()
    site.log.leaves[4] = site.log.leaves[5]
    await site.log.grow(3)
    standing = await site.pass_after(INTERVAL_S)
    assert standing.adherence is Adherence.BROKEN
    assert "(fork): no proof that the log of 13 records extends the 9 seen" in standing.why
    with pytest.raises(Unrecorded):
        await site.evidence.append(ACT)
    assert site.sizes == [9]


async def test_a_leader_that_wakes_up_is_turned_away_and_blames_nobody(site: Site) -> None:
    await site.log.grow(3)
    site.start(epoch=1)
    await site.take()
    asleep = site.service
    site.start(epoch=2)
    await site.log.grow(3)
    await site.take()
    with pytest.raises(WitnessRefused, match="shown under leadership 1, 2 leads"):
        await asleep.take(site.now, site.monotonic_s)
    assert asleep.closed == ""
    assert (await site.pass_after(5)).adherence is Adherence.HOLDS


async def test_after_a_rotation_the_new_key_signs_and_the_old_one_counts_for_nothing(site: Site) -> None:
    await site.log.grow(3)
    await site.take()
    old = parse_checkpoint(json.loads(site.lines[0])["note"]).note.signatures[0].key_id
    new = await site.service.rotate_log_key("rina", "yearly", site.now, site.monotonic_s)
    await site.log.grow(1)
    await site.take()
    notes = [parse_note(json.loads(line)["note"]) for line in site.lines]
    assert [note.signatures[0].key_id for note in notes] == [old, old, new.id]
    # What the offline verifier makes of it.
    number = site.log.kinds().index("evidence.key_rotated")
    handover = parse_handover(str(site.log.records[number].figures["handover"]))
    pinned = site.service._pinned.keys
    signers = Signers([handover.old], pinned, [(number, handover)])
    assert all(signers.log_signed(note, size) for note, size in zip(notes, site.sizes, strict=True))
    assert not signers.log_signed(notes[0], site.sizes[0])
    site.start()
    await site.log.grow(1)
    assert await site.take() == site.log.size, "a restart knows keys and hand-overs"


async def test_a_rotation_that_the_witness_did_not_see_leaves_the_old_key_and_is_finished_later(site: Site) -> None:
    await site.log.grow(3)
    await site.take()
    site.witness.kill()
    with pytest.raises(Unreachable):
        await site.service.rotate_log_key("rina", "yearly", site.now, site.monotonic_s)
    site.witness.start()
    await site.take()
    announced = {str(r.figures["new_key"]) for r in site.log.records if r.kind == "evidence.key_rotated"}
    new = await site.service.rotate_log_key("rina", "yearly", site.now, site.monotonic_s)
    assert announced == {new.text}, "the same new key, not a third one"


async def test_a_rotated_witness_is_followed_and_the_change_recorded(site: Site) -> None:
    await site.log.grow(3)
    await site.take()
    new = await site.service.rotate_witness_key("rina", "yearly")
    await site.take()
    assert parse_note(json.loads(site.lines[-1])["note"]).signatures[1].key_id == new.id
    assert "evidence.witness_key_rotated" in site.log.kinds()
    site.start()
    assert (await site.pass_after(5)).adherence is Adherence.HOLDS


async def test_another_witness_is_not_trusted_until_a_person_accepts_its_fingerprint(site: Site) -> None:
    await site.log.grow(3)
    await site.take()
    site.witness.kill()
    shutil.rmtree(site.witness.directory)
    site.witness.start()
    await site.log.grow(1)
    standing = await site.pass_after(INTERVAL_S)
    assert standing.adherence is Adherence.BROKEN
    assert "another witness answers" in standing.why
    assert site.sizes == [3]
    found = fingerprint((await site.witness.client.public_key()).key)
    with pytest.raises(BadInput, match=f"the witness that answers has {found}, expected 00"):
        await site.service.accept_witness("00", "rina", "a typing error")
    await site.service.accept_witness(found, "rina", "its machine was replaced")
    assert (await site.pass_after(5)).adherence is Adherence.HOLDS
    site.start()
    assert site.service.witnessed is not None, "older checkpoints are verified with the keys they had"


async def test_a_witness_is_not_pinned_while_that_can_not_be_recorded(site: Site) -> None:
    await site.log.grow(1)
    site.log.full = True
    await site.pass_after(INTERVAL_S)
    assert not (site.directory / "keys/witness.pub").exists()
    site.log.full = False
    assert (await site.pass_after(5)).adherence is Adherence.HOLDS


async def test_a_directory_that_takes_no_checkpoint_is_told_and_made_up_for(site: Site) -> None:
    await site.log.grow(1)
    await site.take()
    evidence, aside = site.directory / "evidence", site.directory / "aside"
    evidence.rename(aside)
    await site.log.grow(1)
    with pytest.raises(Unrecorded, match="can't be kept: No such file"):
        await site.take()
    assert "can't be kept" in (await site.pass_after(4 * INTERVAL_S)).why
    aside.rename(evidence)
    assert (await site.pass_after(INTERVAL_S)).adherence is Adherence.HOLDS
    assert site.sizes == [1, 3]


async def test_each_witnessed_checkpoint_is_copied_elsewhere(
    witness: Any, log: Any, directories: Callable[[], Path]
) -> None:
    elsewhere = directories()
    site = Site(directories(), log, witness, copies=elsewhere)
    await log.grow(2)
    await site.take()
    (copy,) = elsewhere.iterdir()
    assert json.loads(copy.read_text())["note"] == json.loads(site.lines[0])["note"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o400
    elsewhere.rename(elsewhere.with_name(elsewhere.name + "-gone"))
    await site.take()
    assert site.standing.adherence is Adherence.AT_RISK
    assert "could not be copied" in site.standing.why
    elsewhere.with_name(elsewhere.name + "-gone").rename(elsewhere)
    await site.take()
    assert site.standing.adherence is Adherence.HOLDS
