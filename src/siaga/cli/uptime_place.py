"""Where the minutes are that a command reads while no controller answers."""

from __future__ import annotations

from siaga.platform import control_database
from siaga.platform.layout import Layout
from siaga.uptime.postgres import PostgresStore
from siaga.uptime.sqlite import FILE_NAME, SqliteStore
from siaga.uptime.store import SliceStore


def measured(layout: Layout) -> SliceStore:
    """What the controllers kept, to be read only; Unreachable or BadInput where there is nothing to read."""
    if layout.site.controller.state == "postgresql":
        return PostgresStore(control_database.connector(layout, control_database.READER), epoch=0)
    return SqliteStore(layout.directory("controller") / FILE_NAME, read_only=True)
