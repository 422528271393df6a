"""One controller a state directory, each start under a larger epoch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from siaga.controller import leadership_file
from siaga.controller.leadership import NotLeading
from siaga.controller.leadership_file import LOCK, FileLeadership, hold
from siaga.errors import BadInput, Exit, Refused


async def test_it_leads_at_once_and_every_epoch_is_larger_than_the_one_before(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        leadership = FileLeadership(tmp_path / "controller", "controller")
        epochs.append(await leadership.lead())
        assert leadership.valid() and leadership.epoch == epochs[-1]
        await leadership.may_act()
        await leadership.give_up()
    assert epochs == [1, 2, 3]


async def test_who_has_not_led_or_gave_up_may_not_act(tmp_path: Path) -> None:
    leadership = FileLeadership(tmp_path, "controller")
    with pytest.raises(NotLeading):
        await leadership.may_act()
    await leadership.lead()
    await leadership.give_up()
    with pytest.raises(NotLeading) as refused:
        await leadership.may_act()
    assert refused.value.exit_code is Exit.REFUSED
    assert leadership.describe()["leader"] is None


async def test_a_second_controller_on_the_directory_is_refused_and_takes_no_epoch(tmp_path: Path) -> None:
    first = FileLeadership(tmp_path, "controller")
    await first.lead()
    with pytest.raises(Refused, match="another controller"):
        await FileLeadership(tmp_path, "controller").lead()
    assert leadership_file.read_epoch(tmp_path / "epoch") == 1
    assert first.valid()


def test_controllers_that_share_the_directory_keep_a_restore_out(tmp_path: Path) -> None:
    locks = [hold(tmp_path, LOCK, shared=True) for _ in range(2)]
    with pytest.raises(Refused):
        hold(tmp_path, LOCK, shared=False)
    for lock in locks:
        os.close(lock)
    os.close(hold(tmp_path, LOCK, shared=False))


@pytest.mark.parametrize("content", ["", "seven", "-1", "1.5"])
async def test_a_damaged_epoch_is_refused_since_a_smaller_one_could_follow(tmp_path: Path, content: str) -> None:
    (tmp_path / "epoch").write_text(content)
    with pytest.raises(BadInput, match="expected a whole number"):
        await FileLeadership(tmp_path, "controller").lead()
    assert (tmp_path / "epoch").read_text() == content
