"""How old programs are, and for how long somebody still mends them."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time

import httpx2

from siaga.errors import Unreachable
from siaga.health import valkey
from siaga.health.distribution import Installed
from siaga.health.end_of_life import Ending, ending
from siaga.health.model import Kind, Observation, Reader
from siaga.health.postgres import Server, ask
from siaga.health.valkey import SessionServer
from siaga.hosts.model import Host

_DEADLINE_S = 10.0
_DAY_S = 86_400.0

Version = Callable[[], Awaitable[tuple[str, str]]]
"""Product, as the table names it, and version."""


@dataclass(frozen=True, slots=True)
class Program:
    """Something that runs, and can say its version."""

    subject: str
    """`transactions-1`; which product it is comes with its version."""
    host: str
    version: Version
    installed: Callable[[], Awaitable[Installed]] | None = None
    """As which package of a distribution, that mends it where its makers name no end."""


def support(program: Program, known: Mapping[tuple[str, str], Ending]) -> Reader:
    """Read what runs, and the days until nobody mends it."""

    async def read(now: datetime) -> Sequence[Observation]:
        product, version = await program.version()
        installed = None
        if program.installed is not None and ending(known, product, version) is None:
            installed = await program.installed()
        return [supported(product, version, program, known, now, installed)]

    name = f"support of {program.host}:{program.subject}"
    return Reader(name, program.host, (Kind.SUPPORT,), read, program.subject)


def supported(
    product: str,
    version: str,
    program: Program,
    known: Mapping[tuple[str, str], Ending],
    now: datetime,
    installed: Installed | None = None,
) -> Observation:
    """Look the version up, else the distribution that mends it; what the table does not know is not measured."""
    found = ending(known, product, version)
    of = f"{product} {version}"
    if found is None and installed is not None:
        # What runs may be older than what is installed: then nobody mends what runs.
        if installed.version != version:
            why = f"{of} runs, {installed.version} is installed: restart it"
            return Observation(Kind.SUPPORT, program.host, program.subject, None, why)
        of = f"{of}, mended by {installed.archive.product} {installed.archive.release}"
        found = ending(known, installed.archive.product, installed.archive.release)
    if found is None:
        why = f"end of life of {of} is not known to this version of siaga"
        return Observation(Kind.SUPPORT, program.host, program.subject, None, why)
    # The last day still counts.
    days = (datetime.combine(found.until, time.max, UTC) - now).total_seconds() / _DAY_S
    why = f"{of}: {found.cycle} ends {found.until.isoformat()} ({found.source})"
    return Observation(Kind.SUPPORT, program.host, program.subject, round(days, 2), why)


def ages(host: Host, files: Mapping[str, str]) -> Reader:
    """Read how long ago each program's file was written: built by its distribution, or installed from a wheel."""

    async def read(now: datetime) -> Sequence[Observation]:
        done = await host.run(
            ["stat", "--dereference", "--format=%Y %n", "--", *files.values()], deadline_s=_DEADLINE_S
        )
        written = {path: int(at) for at, _, path in (line.partition(" ") for line in done.stdout.decode().splitlines())}
        return [_age(host.name, name, written.get(path), now) for name, path in files.items()]

    return Reader(f"package ages of {host.name}", host.name, (Kind.PACKAGE_AGE,), read, "programs")


def _age(host: str, name: str, written_at_s: int | None, now: datetime) -> Observation:
    if written_at_s is None:
        return Observation(Kind.PACKAGE_AGE, host, name, None, "its file is not there")
    written = datetime.fromtimestamp(written_at_s, UTC)
    days = (now - written).total_seconds() / _DAY_S
    return Observation(Kind.PACKAGE_AGE, host, name, round(max(0.0, days), 2), f"written {written:%Y-%m-%d}")


def postgresql(server: Server) -> Version:
    """The version of a database server."""

    async def version() -> tuple[str, str]:
        return "postgresql", str((await ask(server, "show server_version"))[0]["server_version"]).split()[0]

    return version


def pgbouncer(console: Server) -> Version:
    """The version of the pooler."""

    async def version() -> tuple[str, str]:
        return "pgbouncer", str((await ask(console, "show version"))[0]["version"]).split()[-1]

    return version


def valkey_server(server: SessionServer) -> Version:
    """The version of a session server."""

    async def version() -> tuple[str, str]:
        return "valkey", str((await valkey.ask(server))["valkey_version"])

    return version


def envoy(admin: str) -> Version:
    """The version of the front door, by its admin listener at `host:port`."""

    async def version() -> tuple[str, str]:
        try:
            async with httpx2.AsyncClient(timeout=_DEADLINE_S) as client:
                said = (await client.get(f"http://{admin}/server_info")).json()
            # commit/1.40.0/Clean/RELEASE/BoringSSL
            return "envoy", str(said["version"]).split("/")[1]
        except (httpx2.HTTPError, ValueError, KeyError, IndexError) as error:
            raise Unreachable(
                f"Envoy does not tell its version: {type(error).__name__}", hint="Look at its admin listener."
            ) from None

    return version


def operating_system(host: Host) -> Version:
    """The distribution of a host, by its os-release."""

    async def version() -> tuple[str, str]:
        said = os_release((await host.read("/etc/os-release")).decode())
        if "ID" not in said or "VERSION_ID" not in said:
            raise Unreachable("os-release names no version", hint="A rolling distribution has no end of life.")
        return said["ID"], said["VERSION_ID"]

    return version


def os_release(text: str) -> dict[str, str]:
    """Its assignments, unquoted as a shell would."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: "".join(shlex.split(value)) for key, _, value in pairs}


def python(host: Host, program: Sequence[str] = ("python3",)) -> Version:
    """The Python of a host."""

    async def version() -> tuple[str, str]:
        done = await host.run([*program, "-V"], deadline_s=_DEADLINE_S)
        words = (done.stdout or done.stderr).decode().split()
        if done.exit_code != 0 or len(words) != 2:
            raise Unreachable("Python does not tell its version", hint="Look whether it is installed.")
        return "python", words[1]

    return version
