"""One real PostgreSQL for all tests of the ledger, many databases in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[3]), str(Path(__file__).parent)]

from books import Books  # noqa: E402

from benchmarks.ledger import faults, shapes  # noqa: E402
from benchmarks.ledger.server import Server, running  # noqa: E402

_NUMBERS = count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running() as found:
        yield found


@pytest.fixture
def books(server: Server) -> Iterator[Books]:
    """An empty database and a small double-entry ledger in it."""
    name = f"books_{next(_NUMBERS)}"
    with server.connect() as connection:
        connection.execute(f"create database {name}")
    found = Books(server, name)
    found.create()
    yield found
    found.close()


@pytest.fixture(scope="session")
def templates(server: Server) -> dict[str, str]:
    """A filled database of each shape, by its name."""
    return {shape.name: shapes.prepared(server, shape) for shape in shapes.SHAPES}


@pytest.fixture(scope="session")
def records(
    server: Server, templates: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, faults.Recorded]:
    """What a journal would know of each shape."""
    directory = tmp_path_factory.mktemp("records")
    return {shape.name: faults.record(server, shape, templates[shape.name], directory) for shape in shapes.SHAPES}
