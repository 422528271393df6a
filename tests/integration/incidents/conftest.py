"""Where incidents may be kept."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["files", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A directory, or the conninfo of a real PostgreSQL in which epoch 1 leads."""
    if request.param == "files":
        return tmp_path
    conninfo: str = request.getfixturevalue("database").conninfo
    return conninfo
