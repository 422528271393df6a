"""Errors that filesystems counted themselves (ext4, btrfs), and volumes that fell back to read-only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from siaga.errors import Unreachable
from siaga.health.model import Kind, Observation, Reader
from siaga.hosts.model import Host

_DEADLINE_S = 10.0

COUNTLESS = {
    "xfs": "it tells the kernel's log, which is read of its own",
    "tmpfs": "it is memory, on no disk",
}
"""Filesystems of which it is known that they count nothing. An overlay is none: what it stands on may count."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted filesystem."""

    target: str
    kind: str
    device: str
    """`major:minor`."""
    uuid: str
    read_only: bool


def reader(host: Host, directories: Sequence[str]) -> Reader:
    """Read every filesystem that holds one of the directories, each once."""

    async def read(now: datetime) -> Sequence[Observation]:
        mounts = {mount.target: mount for mount in [await _mount(host, d) for d in directories]}
        return [await _look(host, mount) for mount in mounts.values()]

    return Reader(f"filesystems of {host.name}", host.name, (Kind.FILESYSTEM_ERRORS,), read)


def parse(output: bytes) -> Mount:
    """What `findmnt --json` says of one mount; ValueError or KeyError when it is something else."""
    found = json.loads(output)["filesystems"][0]
    return Mount(
        target=found["target"],
        kind=found["fstype"],
        device=found["maj:min"].strip(),
        uuid=found["uuid"] or "",
        read_only="ro" in found["options"].split(","),
    )


async def _mount(host: Host, directory: str) -> Mount:
    columns = "TARGET,FSTYPE,MAJ:MIN,UUID,OPTIONS"
    done = await host.run(
        ["findmnt", "--json", "--output", columns, "--target", directory], deadline_s=_DEADLINE_S, env={"LC_ALL": "C"}
    )
    try:
        return parse(done.stdout)
    except (ValueError, KeyError, IndexError):
        raise Unreachable(
            f"findmnt does not know what holds {directory}", hint="Look whether the directory is there."
        ) from None


async def _look(host: Host, mount: Mount) -> Observation:
    if mount.read_only:
        why = f"{mount.kind} is mounted read-only, as the kernel does after an error"
        return Observation(Kind.FILESYSTEM_ERRORS, host.name, mount.target, 1.0, why)
    count: float | None = None
    if mount.kind in COUNTLESS:
        why = f"{mount.kind} keeps no count: {COUNTLESS[mount.kind]}"
        return Observation(Kind.FILESYSTEM_ERRORS, host.name, mount.target, None, why, applicable=False)
    why = f"whether {mount.kind} keeps a count of its errors, or stands on something that does, is not known here"
    try:
        if mount.kind == "ext4":
            count, why = await _ext4(host, mount), "since the last fsck"
        elif mount.kind == "btrfs":
            count, why = await _btrfs(host, mount), "of all its devices, since `btrfs device stats --reset`"
    except (OSError, ValueError) as error:
        why = f"the count of {mount.kind} can't be read: {getattr(error, 'strerror', None) or 'it is no number'}"
    return Observation(Kind.FILESYSTEM_ERRORS, host.name, mount.target, count, why)


async def _ext4(host: Host, mount: Mount) -> float:
    event = (await host.read(f"/sys/dev/block/{mount.device}/uevent")).decode()
    names = [line.removeprefix("DEVNAME=") for line in event.splitlines() if line.startswith("DEVNAME=")]
    if not names:
        raise ValueError("no device name")
    return float(await host.read(f"/sys/fs/ext4/{names[0]}/errors_count"))


async def _btrfs(host: Host, mount: Mount) -> float:
    # Counters by device: `write_errs 0` and four more lines in a file each.
    devices = f"/sys/fs/btrfs/{mount.uuid}/devinfo"
    argv = ["find", devices, "-name", "error_stats", "-exec", "cat", "{}", "+"]
    done = await host.run(argv, deadline_s=_DEADLINE_S)
    counters = [line.split() for line in done.stdout.decode().splitlines() if line.strip()]
    if done.exit_code != 0 or not counters:
        raise ValueError("no counters")
    return float(sum(int(counter[-1]) for counter in counters))
