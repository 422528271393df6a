"""Fixtures for the tests of `siaga` itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from platform_under_test import Platform


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
    assert running.processes() == []
