"""What the kernel said of failing disks, memory and filesystems in the last days."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from siaga.errors import Unreachable
from siaga.health.model import Kind, Observation, Reader
from siaga.hosts.model import Host

SINCE = timedelta(days=7)
_DEADLINE_S = 15.0
_LINE_LENGTH_MAX = 160

# Words of the kernel's sources: block layer, SCSI, NVMe, libata, ext4, XFS, btrfs, machine checks, EDAC.
TROUBLE = re.compile(
    r"I/O error|critical (?:medium|target) error|Buffer I/O error|Unrecovered read error|"
    r"nvme\S*: (?:I/O .* timeout|controller is down)|ata\d\S*: (?:exception|failed command)|"
    r"EXT4-fs error|EXT4-fs \(.*\): (?:Remounting filesystem read-only|error count)|"
    r"XFS \(.*\): (?:.*[Cc]orruption|log I/O error|metadata I/O error|.*shut(?:ting)? down)|"
    r"BTRFS(?: \w+)? \(.*\): (?:.*csum failed|.*bdev .* errs)|BTRFS (?:error|critical)|"
    r"Machine [Cc]heck|Hardware Error|EDAC .*(?:CE|UE) ",
)


def reader(host: Host) -> Reader:
    """Count the lines of the last seven days; not measured where the kernel keeps its log to root."""

    async def read(now: datetime) -> Sequence[Observation]:
        done = await host.run(["dmesg", "--kernel", "--time-format=iso"], deadline_s=_DEADLINE_S, env={"LC_ALL": "C"})
        text = done.stdout.decode(errors="replace")
        if done.exit_code != 0 or not text.strip():
            raise Unreachable(
                "the kernel's log is empty or may not be read by this user",
                hint="Set kernel.dmesg_restrict = 0, or grant the capability CAP_SYSLOG.",
            )
        lines = troubles(text, now - SINCE)
        why = f"the last one: {lines[-1][:_LINE_LENGTH_MAX]}" if lines else ""
        return [Observation(Kind.KERNEL_ERRORS, host.name, "kernel log", float(len(lines)), why)]

    return Reader(f"kernel log of {host.name}", host.name, (Kind.KERNEL_ERRORS,), read, "kernel log")


def troubles(text: str, since: datetime) -> list[str]:
    """Lines that speak of failing hardware or filesystems, not older than `since`; one without a time counts."""
    found = []
    for line in text.splitlines():
        stamp, _, said = line.partition(" ")
        if not TROUBLE.search(said):
            continue
        try:
            old = datetime.fromisoformat(stamp.replace(",", ".")) < since
        except (ValueError, TypeError):
            old = False
        if not old:
            found.append(said)
    return found
