"""System packages: PgBouncer (decision 5), and Pango for the PDF of the month's report.

With the rights they are installed; without them they are unpacked from their packages into the state directory, where
the package lists allow; otherwise the message says what to install.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from siaga.errors import PlatformFault

_TIMEOUT_S = 300
# Servers live there, and an ordinary user's PATH does not name them.
SYSTEM_DIRECTORIES = "/usr/sbin:/usr/local/sbin"
_FONTS = Path("/usr/share/fonts")


@dataclass(frozen=True, slots=True)
class SystemPackage:
    """What the distribution's packages bring, and how to see whether it is there."""

    name: str
    packages: tuple[str, ...]
    find: Callable[[], object | None]
    """None when it is nowhere."""
    required: bool = True
    """Whether nothing works without it."""
    newer_packages: tuple[str, ...] = ()
    """Wanted where the release has them."""

    @property
    def hint(self) -> str:
        """What a person may do."""
        names = " ".join(self.packages)
        return f"Install it: `sudo apt-get install {names}` (or your distribution's package), then try again."


def unpack_directory() -> Path:
    """Where an ordinary user's packages are unpacked, shared by all platforms of that user."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "siaga/packages"


def find_pgbouncer() -> tuple[Path, dict[str, str]] | None:
    """The program and the environment it needs, or None when it is nowhere."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:{SYSTEM_DIRECTORIES}")
    if found:
        return Path(found), {}
    program = unpack_directory() / "usr/sbin/pgbouncer"
    environment = _unpacked_libraries()
    # Unpacked, it may still lack a library that this release names differently.
    if program.exists() and _run([str(program), "--version"], {**os.environ, **environment}) == 0:
        return program, environment
    return None


def find_pango() -> dict[str, str] | None:
    """The environment in which the libraries that lay out a PDF are found, and a font; None when they are nowhere."""
    if _loads("libpangoft2-1.0.so.0") and any(_FONTS.rglob("*.[ot]tf")):
        return {}
    unpacked = unpack_directory()
    if not any((unpacked / "usr/lib").glob("*-linux-gnu/libpangoft2-1.0.so.0")):
        return None
    # Where the system has no font and no configuration of its own, those of the packages are named.
    fonts = {"XDG_DATA_HOME": str(unpacked / "usr/share")}
    if not Path("/etc/fonts/fonts.conf").exists():
        fonts["FONTCONFIG_PATH"] = str(unpacked / "etc/fonts")
    return {**_unpacked_libraries(), **fonts}


PGBOUNCER = SystemPackage("PgBouncer", ("pgbouncer",), find_pgbouncer)
PANGO = SystemPackage(
    "Pango",
    ("libpango-1.0-0", "libpangoft2-1.0-0", "fonts-dejavu-core"),
    find_pango,
    required=False,
    newer_packages=("libharfbuzz-subset0",),
)
SYSTEM_PACKAGES = (PGBOUNCER, PANGO)


def obtain_pgbouncer() -> tuple[Path, dict[str, str]]:
    """Find PgBouncer, installing or unpacking it when it is missing; PlatformFault when neither works."""
    obtain(PGBOUNCER)
    found = find_pgbouncer()
    assert found is not None, "obtained"
    return found


def obtain(wanted: SystemPackage) -> None:
    """Install or unpack it when it is missing; PlatformFault when neither works."""
    if wanted.find() is not None:
        return
    if shutil.which("apt-get") is None:
        raise PlatformFault(f"{wanted.name} is not installed, and there is no apt-get to get it with", hint=wanted.hint)
    print(f"installing {wanted.name} from the system's packages", file=sys.stderr, flush=True)
    if os.geteuid() == 0:
        _install(wanted)
    else:
        _unpack(wanted, unpack_directory())
    if wanted.find() is None:
        raise PlatformFault(f"{wanted.name} is still missing after its package was installed", hint=wanted.hint)


def _install(wanted: SystemPackage) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    if _run([*install, *wanted.packages], environment) != 0:
        _run(["apt-get", "update", "-qq"], environment)
        if _run([*install, *wanted.packages], environment) != 0:
            raise PlatformFault(f"`apt-get install {' '.join(wanted.packages)}` failed", hint=wanted.hint)
    for package in wanted.newer_packages:
        _run([*install, package], environment)


def _unpack(wanted: SystemPackage, unpacked: Path) -> None:
    unpacked.mkdir(parents=True, exist_ok=True)
    missing = _would_be_installed(wanted.packages)
    for package in wanted.newer_packages:
        missing += [name for name in _would_be_installed((package,)) if name not in missing]
    if not missing or _run(["apt-get", "download", "-qq", *missing], dict(os.environ), cwd=unpacked) != 0:
        raise PlatformFault(
            f"{wanted.name} is not installed, and without root its packages could not be downloaded", hint=wanted.hint
        )
    for archive in unpacked.glob("*.deb"):
        if _run(["dpkg", "-x", str(archive), str(unpacked)], dict(os.environ)) != 0:
            raise PlatformFault(f"`{archive.name}` could not be unpacked", hint=wanted.hint)
        archive.unlink()


def _would_be_installed(packages: tuple[str, ...]) -> list[str]:
    """These and what they need, as far as it is not on this system: names differ between releases."""
    try:
        done = subprocess.run(
            ["apt-get", "install", "--simulate", "-qq", "--no-install-recommends", *packages],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return []
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("Inst ")]


def _unpacked_libraries() -> dict[str, str]:
    libraries = sorted((unpack_directory() / "usr/lib").glob("*-linux-gnu"))
    return {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _run(argv: list[str], environment: dict[str, str], cwd: Path | None = None) -> int:
    try:
        return subprocess.run(
            argv,
            check=False,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
        ).returncode
    except subprocess.TimeoutExpired as expired:
        raise PlatformFault(
            f"`{argv[0]}` did not end within {_TIMEOUT_S} s", hint="Run it by hand to see why, then try again."
        ) from expired


def main() -> int:
    """`python -m siaga.platform.packages [--check]`: obtain what is missing, or only say whether anything is.

    What is not required, and can't be had here, is told and left out.
    """
    if "--check" in sys.argv:
        return int(any(wanted.find() is None for wanted in SYSTEM_PACKAGES if wanted.required))
    for wanted in SYSTEM_PACKAGES:
        try:
            obtain(wanted)
        except PlatformFault as fault:
            print(f"{'error' if wanted.required else 'warning'}: {fault}", file=sys.stderr)
            if wanted.required:
                return int(fault.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
