"""A real PostgreSQL for the controllers' state, and contests over it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contest import Contest, StateServer
from wallet_servers import free_ports


@pytest.fixture(scope="module")
def state_server() -> Iterator[StateServer]:
    """One server for all contests."""
    directory = Path(tempfile.mkdtemp(prefix="siaga-leader-", dir="/tmp"))
    directory.chmod(0o755)
    server = StateServer(directory, free_ports(1)[0])
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def begin(state_server: StateServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Contest]]:
    """Begins contests over an empty state."""
    begun: list[Contest] = []

    def begin_one(*names: str, same_machine: bool) -> Contest:
        database = state_server.create(f"contest_{len(begun)}")
        contest = Contest(database, tmp_path_factory.mktemp("contest"), same_machine=same_machine)
        begun.append(contest)
        for name in names:
            contest.start(name)
        return contest

    yield begin_one
    for contest in begun:
        contest.stop()


@pytest.fixture(scope="module", params=["one machine", "two machines"])
def pair(request: pytest.FixtureRequest, begin: Callable[..., Contest]) -> Iterator[Contest]:
    """Two contenders that live through fault after fault, each started again as the keeper does."""
    contest = begin("a", "b", same_machine=request.param == "one machine")
    yield contest
    contest.stop()


@pytest.fixture
def contest(pair: Contest) -> Iterator[Contest]:
    """The pair, one of them acting and the other standing by; judged afterwards by all it ever did."""
    pair.database.server.ensure_running()
    pair.leader()
    pair.wait_for_standbys()
    yield pair
    pair.judge()
