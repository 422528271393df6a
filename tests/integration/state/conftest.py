"""A platform's state without its servers: real evidence, a real journal file, secrets, levers."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from state_directory import StateDirectory

from siaga.platform import account, layout
from siaga.platform.account import Home
from siaga.platform.layout import Layout
from siaga.site.load import embedded


@pytest.fixture
def laid_out(directories: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A platform that was chosen, and is not running."""
    monkeypatch.setenv("SIAGA_HOME", str(directories() / "home"))
    place = account.home()
    account.prepare(place, account.find())
    return _lay_out(place)


def _lay_out(place: Home) -> Layout:
    site = embedded()
    keys = layout.listeners(site)
    chosen = layout.resolve(place, site, dict(zip(keys, range(21_000, 22_000), strict=False)))
    layout.save(chosen)
    return chosen


@pytest.fixture
async def state(laid_out: Layout) -> StateDirectory:
    """Three runs in the journal, ten records in the evidence."""
    found = StateDirectory(laid_out)
    found.controller.mkdir(mode=0o700)
    secrets = laid_out.secret("x").parent
    secrets.mkdir(mode=0o700)
    for name in ("controller-token", "wallet-app"):
        (secrets / name).write_text(f"secret of {name}")
        (secrets / name).chmod(0o600)
    (found.controller / "epoch").write_text("7\n")
    (found.controller / "lock").touch(0o600)
    with sqlite3.connect(found.journal) as journal:
        journal.execute("create table runs (id integer primary key, evidence integer)")
        journal.executemany("insert into runs values (?, ?)", [(n, n) for n in range(3)])
    journal.close()
    await found.record(10)
    who = account.find()
    for directory, _, names in os.walk(laid_out.place.state):
        for path in (Path(directory), *(Path(directory) / name for name in names)):
            os.chown(path, who.uid, who.gid)
    return found
