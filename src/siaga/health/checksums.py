"""Pages whose checksum does not fit: what PostgreSQL met by itself, and what a slow walk over all data finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from siaga.errors import Unreachable
from siaga.health.model import NOT_YET, Kind, Observation, Reader
from siaga.health.postgres import Server, ask
from siaga.hosts.model import Host

COUNTED = """
select current_setting('data_checksums') as enabled,
       coalesce(sum(checksum_failures), 0)::bigint as failures,
       max(checksum_last_failure)::text as last_failure
  from pg_stat_database
"""
# When initdb made it: the upper half of its system identifier. A replica and a restored copy keep that of their
# original, and seem older than they are, never younger.
MADE = "select to_timestamp(system_identifier >> 32) at time zone 'UTC' as made from pg_control_system()"
WALK_EVERY = timedelta(days=7)
BROKEN_PAGE = "checksum verification failed in file"
BROKEN = "checksum verification failure during base backup"
_DISABLED = "the server was made without data checksums"


def reader(server: Server) -> Reader:
    """Pages with a wrong checksum that the server met since its statistics began."""

    async def read(now: datetime) -> Sequence[Observation]:
        row = (await ask(server, COUNTED))[0]
        if row["enabled"] != "on":
            return [Observation(Kind.CHECKSUM_FAILURES, server.host, server.name, None, _DISABLED)]
        why = f"the last one at {row['last_failure']}" if row["failures"] else ""
        return [Observation(Kind.CHECKSUM_FAILURES, server.host, server.name, float(row["failures"]), why)]

    return Reader(f"checksums of {server.name}", server.host, (Kind.CHECKSUM_FAILURES,), read, server.name)


@dataclass(frozen=True, slots=True)
class Walk:
    """How a scrub logs in, and how gently it goes."""

    pg_basebackup: str
    """The program on the host, of the server's version or newer."""
    address: str
    """`host:port`."""
    role: str
    """With the attribute REPLICATION."""
    password_file: str
    """In libpq's format: no password is ever an argument."""
    mb_per_s_max: int
    deadline_s: float
    checkpoint: Literal["spread", "fast"] = "spread"
    """Spread: the walk waits for the next ordinary checkpoint instead of causing a burst of writes."""

    @property
    def argv(self) -> tuple[str, ...]:
        """A base backup into nothing: the server reads every page, checks it, and throws it away."""
        host, _, port = self.address.rpartition(":")
        return (
            self.pg_basebackup,
            "--target=blackhole",
            "--wal-method=none",
            "--no-manifest",
            "--no-estimate-size",
            f"--checkpoint={self.checkpoint}",
            f"--max-rate={self.mb_per_s_max}M",
            "--label=siaga scrub",
            f"--host={host}",
            f"--port={port}",
            f"--username={self.role}",
            "--no-password",
        )


def scrub(host: Host, server: Server, walk: Walk) -> Reader:
    """Have PostgreSQL read and check each of its pages, at a bounded rate; nothing is written anywhere."""

    async def read(now: datetime) -> Sequence[Observation]:
        if (await ask(server, COUNTED))[0]["enabled"] != "on":
            return [Observation(Kind.SCRUB_FAILURES, server.host, server.name, None, _DISABLED)]
        done = await host.run(
            walk.argv, deadline_s=walk.deadline_s, env={"PGPASSFILE": walk.password_file, "LC_ALL": "C"}
        )
        return [verdict(done.exit_code, done.stderr.decode(errors="replace"), server)]

    async def unread(now: datetime) -> Sequence[Observation]:
        return [unwalked((await ask(server, MADE))[0]["made"].replace(tzinfo=UTC), server, now)]

    return Reader(
        f"scrub of {server.name}",
        server.host,
        (Kind.SCRUB_FAILURES,),
        read,
        server.name,
        deadline_s=walk.deadline_s + 30,
        scrub=True,
        unread=unread,
    )


def unwalked(made: datetime, server: Server, now: datetime) -> Observation:
    """Of data that was never walked through: nothing is due while all of it is younger than the walk's own week."""
    due = made + WALK_EVERY
    if made <= now < due:
        why = f"not due before {due:%Y-%m-%d}: all its data was written since {made:%Y-%m-%d %H:%M} UTC"
        return Observation(Kind.SCRUB_FAILURES, server.host, server.name, None, why, applicable=False)
    return Observation(Kind.SCRUB_FAILURES, server.host, server.name, None, NOT_YET)


def verdict(exit_code: int, stderr: str, server: Server) -> Observation:
    """What the walk found; Unreachable where it did not come to its end for another reason than a broken page."""
    lines = stderr.splitlines()
    broken = [line for line in lines if BROKEN_PAGE in line]
    if broken or any(BROKEN in line for line in lines):
        # The server names only the first five pages of a file; at least so many there are.
        why = f"the first one: {broken[0].partition('WARNING:')[2].strip() or broken[0]}" if broken else lines[-1]
        return Observation(Kind.SCRUB_FAILURES, server.host, server.name, float(max(1, len(broken))), why)
    if exit_code != 0:
        raise Unreachable(
            f"the walk over {server.name} ended early: {lines[-1] if lines else 'no message'}",
            hint="Look at the server's log, its wal senders and its pg_hba.conf.",
        )
    return Observation(Kind.SCRUB_FAILURES, server.host, server.name, 0.0, "every page was read and fits its checksum")
