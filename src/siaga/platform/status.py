"""What runs of the embedded platform, read from the keeper; works with the controller dead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from siaga.errors import Unreachable
from siaga.hosts import processes
from siaga.hosts.keeper_client import KeeperClient
from siaga.platform.layout import Layout


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the platform."""

    name: str
    kind: str
    state: str
    address: str
    pid: int | None
    since: str
    why: str


async def parts(layout: Layout) -> tuple[Part, ...]:
    """Every part the site names, the keeper first; one the keeper does not know is `missing`."""
    client = KeeperClient(layout.place.keeper_socket)
    try:
        kept = {part["name"]: part for part in await client.parts()}
        pid = await client.pid()
        head = Part("keeper", "keeper", "running", "", pid, "", "keeps the others alive")
    except Unreachable as error:
        kept = {}
        head = Part("keeper", "keeper", "not reachable", "", None, "", error.message)
    rest = [_part(name, address, kept.get(name)) for name, address in layout.parts.items()]
    return (head, *rest)


def _part(name: str, address: str, kept: dict[str, Any] | None) -> Part:
    if kept is None:
        return Part(name, "", "unknown", address, None, "", "the keeper does not answer or was never told of it")
    since = datetime.fromtimestamp(kept["since"], UTC).isoformat(timespec="seconds") if kept["since"] else ""
    state = kept["state"]
    if kept["pid"] is not None and processes.find(kept["pid"]) is None:
        state = "ended"
    return Part(name, kept["kind"], state, address, kept["pid"], since, kept["why"])
