"""Space and inodes of the volumes below some directories, as `df` counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from siaga.errors import Unreachable
from siaga.health.model import Kind, Observation, Reader
from siaga.hosts.model import Host

_DEADLINE_S = 10.0


def reader(host: Host, directories: Sequence[str]) -> Reader:
    """Read every volume that holds one of the directories, each once."""

    async def read(now: datetime) -> Sequence[Observation]:
        done = await host.run(
            ["df", "--block-size=1", "--output=size,used,avail,itotal,iused,target", "--", *directories],
            deadline_s=_DEADLINE_S,
            env={"LC_ALL": "C"},
        )
        found = tuple(parse(done.stdout.decode(errors="replace"), host.name))
        if done.exit_code != 0 or not found:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise Unreachable(f"df failed: {said[0] if said else 'no output'}", hint="Look at the volumes' mounts.")
        return found

    return Reader(f"disks of {host.name}", host.name, (Kind.DISK_SPACE, Kind.DISK_INODES), read)


def parse(text: str, host: str) -> Iterator[Observation]:
    """Two observations a volume, from the columns asked for above."""
    volumes = {line.split(None, 5)[5]: line.split(None, 5)[:5] for line in text.splitlines()[1:] if line.strip()}
    for target, figures in volumes.items():
        size, used, available, inodes, inodes_used = (int(f) if f.isdigit() else 0 for f in figures)
        # What root keeps back is no room for a server: of what it may fill, as df itself rounds up.
        room = used + available
        yield Observation(
            Kind.DISK_SPACE,
            host,
            target,
            round(100 * used / room, 2) if room else None,
            f"{available / 1e9:.1f} GB free of {size / 1e9:.1f} GB" if room else "the volume says no size",
        )
        yield Observation(
            Kind.DISK_INODES,
            host,
            target,
            round(100 * inodes_used / inodes, 2) if inodes else 0.0,
            "" if inodes else "this filesystem has no fixed number of inodes",
        )
