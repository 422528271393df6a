"""Which distribution mends an installed file, by what dpkg and apt know of it themselves.

A package's name or maintainer is no proof: PGDG's packages look like Debian's own. What counts is the archive that the
installed version comes from, as its signed release names itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from siaga.errors import Unreachable
from siaga.hosts.model import Host

_DEADLINE_S = 15.0
_COMPONENT = "main"
"""The one that Debian and Ubuntu promise to mend; Ubuntu's `universe` has no such promise."""
_ARCHIVE = re.compile(r"^\s+-?\d+ (\S+ \S+/\S+ \S+ Packages)$")
_RELEASE = re.compile(r"^\s+release (.+)$")


@dataclass(frozen=True, slots=True)
class Archive:
    """What the release file of an archive says of itself."""

    product: str
    """`debian`: as the table of ends of life names it."""
    release: str
    """`12.12`."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A package on the host, and where its installed version can be had."""

    version: str
    """The makers' own part of it: `1.18.0` of `1.18.0-1+deb12u1`."""
    archive: Archive


async def of_file(host: Host, path: str) -> Installed:
    """The package of the file, in an archive that its distribution mends; Unreachable where that is not certain."""
    try:
        owner = await host.run(["dpkg-query", "--search", path], deadline_s=_DEADLINE_S, env={"LC_ALL": "C"})
        package = owner.stdout.decode().partition(":")[0]
        if owner.exit_code != 0 or not package or set(", ") & set(package):
            raise _unknown(f"{path} belongs to no package")
        policy = await host.run(["apt-cache", "policy", package], deadline_s=_DEADLINE_S, env={"LC_ALL": "C"})
        known = await host.run(["apt-cache", "policy"], deadline_s=_DEADLINE_S, env={"LC_ALL": "C"})
    except OSError:
        raise _unknown("the host has no dpkg and apt") from None
    found = parse(policy.stdout.decode(), known.stdout.decode())
    if found is None:
        raise _unknown(f"no archive on the host's lists says that its {_COMPONENT} holds the installed {package}")
    return found


def parse(policy: str, known: str) -> Installed | None:
    """From `apt-cache policy PACKAGE` and `apt-cache policy`; None where no archive speaks for what is installed."""
    archives = dict(_archives(known))
    version, installed = "", False
    for line in policy.splitlines():
        if line.startswith((" *** ", "     ")) and not line.startswith("      "):
            installed = line.startswith(" *** ")
            version = (line[5:].split() or [""])[0] if installed else version
        elif installed and (place := _ARCHIVE.match(line)) and (archive := archives.get(place[1])):
            # 1:1.18.0-1+deb12u1: the epoch and the packager's revision are not the makers'.
            return Installed(version.partition(":")[2 if ":" in version else 0].partition("-")[0], archive)
    return None


def _archives(known: str) -> Iterator[tuple[str, Archive]]:
    place = ""
    for line in known.splitlines():
        if here := _ARCHIVE.match(line):
            place = here[1]
        elif place and (release := _RELEASE.match(line)):
            said = dict(pair.partition("=")[::2] for pair in release[1].split(","))
            if "o" in said and "v" in said and said.get("c") == _COMPONENT:
                yield place, Archive(said["o"].lower(), said["v"])
            place = ""


def _unknown(why: str) -> Unreachable:
    return Unreachable(
        f"its makers name no end of life, and {why}",
        hint="Run `apt-get update` on the host, or name the end as `[[health.end_of_life]]`.",
    )
