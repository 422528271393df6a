"""Fixtures for the tests of `siaga` itself."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contest import StateDatabase, StateServer
from platform_under_test import Platform, eventually

from siaga.hosts.local import LocalHost


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole platforms, and users who count milliseconds, want the machine for themselves; others run two at a time."""
    for item in items:
        if isinstance(item, pytest.Function) and (hasattr(item.module, "Platform") or "traffic" in item.path.parts):
            item.add_marker("alone")


@pytest.fixture(scope="session")
def directories() -> Iterator[Callable[[], Path]]:
    """Makes directories that the platform's user can reach even when root runs the tests."""
    made: list[Path] = []

    def make() -> Path:
        directory = Path(tempfile.mkdtemp(prefix="siaga-test-", dir="/tmp"))
        directory.chmod(0o755)
        made.append(directory)
        return directory

    yield make
    for directory in made:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def state_database() -> Iterator[StateDatabase]:
    """A server with the leader's table, as leadership makes it."""
    directory = Path(tempfile.mkdtemp(prefix="siaga-state-", dir="/tmp"))
    directory.chmod(0o755)
    (port,) = asyncio.run(LocalHost().free_ports(1))
    server = StateServer(directory, port)
    try:
        server.start()
        made = server.create("siaga_state")
        made.query("create schema siaga_state")
        made.query("create table siaga_state.leader (epoch bigint not null)")
        made.query("insert into siaga_state.leader values (1)")
        yield made
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def database(state_database: StateDatabase) -> StateDatabase:
    """The controllers' state, with nothing in it but that epoch 1 leads."""
    for schema in ("siaga_evidence", "siaga_uptime", "siaga_incidents"):
        state_database.query(f"drop schema if exists {schema} cascade")
    state_database.query("update siaga_state.leader set epoch = 1")
    return state_database


@pytest.fixture(scope="session")
def platform(directories: Callable[[], Path]) -> Iterator[Platform]:
    """A platform that runs; a test that stops parts of it brings them back."""
    running = Platform(directories() / "home")
    try:
        up = running.siaga("up", "--detach")
        assert up.code == 0, up.stderr
        yield running
    finally:
        running.siaga("down", "--purge")
    eventually(lambda: running.processes() == [], "nothing runs any more", 5)
