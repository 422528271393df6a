"""System packages: PgBouncer from the distribution's package manager (decision 5).

With the rights it is installed; without them it is unpacked from its packages into the state
directory, where the package lists allow; otherwise the message says what to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from siaga.errors import PlatformFault

_HINT = "Install it: `sudo apt-get install pgbouncer` (or your distribution's package), then try again."
_TIMEOUT_S = 300
# Servers live there, and an ordinary user's PATH does not name them.
SYSTEM_DIRECTORIES = "/usr/sbin:/usr/local/sbin"


def unpack_directory() -> Path:
    """Where an ordinary user's packages are unpacked, shared by all platforms of that user."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "siaga/packages"


def find_pgbouncer() -> tuple[Path, dict[str, str]] | None:
    """The program and the environment it needs, or None when it is nowhere."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:{SYSTEM_DIRECTORIES}")
    if found:
        return Path(found), {}
    unpacked = unpack_directory()
    program = unpacked / "usr/sbin/pgbouncer"
    if program.exists():
        libraries = ":".join(str(p) for p in sorted((unpacked / "usr/lib").glob("*-linux-gnu")))
        return program, {"LD_LIBRARY_PATH": libraries}
    return None


def obtain_pgbouncer() -> tuple[Path, dict[str, str]]:
    """Find PgBouncer, installing or unpacking it when it is missing; PlatformFault when neither works."""
    found = find_pgbouncer()
    if found is not None:
        return found
    if shutil.which("apt-get") is None:
        raise PlatformFault("PgBouncer is not installed, and there is no apt-get to get it with", hint=_HINT)
    print("installing PgBouncer from the system's packages", file=sys.stderr, flush=True)
    if os.geteuid() == 0:
        _install()
    else:
        _unpack(unpack_directory())
    found = find_pgbouncer()
    if found is None:
        raise PlatformFault("PgBouncer is still missing after its package was installed", hint=_HINT)
    return found


def _install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "pgbouncer"]
    if _run(install, environment) != 0:
        _run(["apt-get", "update", "-qq"], environment)
        if _run(install, environment) != 0:
            raise PlatformFault("`apt-get install pgbouncer` failed", hint=_HINT)


def _unpack(unpacked: Path) -> None:
    unpacked.mkdir(parents=True, exist_ok=True)
    for package in ("pgbouncer", "libevent-2.1-7", "libevent-2.1-7t64", "libc-ares2", "libcares2"):
        # Which library packages exist differs between releases; the program's own check follows.
        if (
            _run(["apt-get", "download", "-qq", package], dict(os.environ), cwd=unpacked) != 0
            and package == "pgbouncer"
        ):
            raise PlatformFault(
                "PgBouncer is not installed, and without root its package could not be downloaded", hint=_HINT
            )
    for archive in unpacked.glob("*.deb"):
        if _run(["dpkg", "-x", str(archive), str(unpacked)], dict(os.environ)) != 0:
            raise PlatformFault(f"`{archive.name}` could not be unpacked", hint=_HINT)
        archive.unlink()
    program = find_pgbouncer()
    if program is None or _run([str(program[0]), "--version"], {**os.environ, **program[1]}) != 0:
        raise PlatformFault("PgBouncer was unpacked without root but does not run here", hint=_HINT)


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
        raise PlatformFault(f"`{argv[0]}` did not end within {_TIMEOUT_S} s", hint=_HINT) from expired


def main() -> int:
    """`python -m siaga.platform.packages [--check]`: obtain what is missing, or only say whether anything is."""
    if "--check" in sys.argv:
        return 0 if find_pgbouncer() is not None else 1
    try:
        obtain_pgbouncer()
    except PlatformFault as fault:
        print(f"error: {fault}", file=sys.stderr)
        return int(fault.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
