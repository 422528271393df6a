"""Where the platform's state lives and as whom it runs (decisions 5 and 6).

As root everything runs as one unprivileged user of its own; as an ordinary user everything is that
user's. Sockets live in a short run directory: a Unix socket's path has at most 107 bytes.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from siaga.errors import BadInput, PlatformFault

USER = "siaga"


@dataclass(frozen=True, slots=True)
class Account:
    """The user the platform's processes run as."""

    name: str
    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        """Whether we already run as that user."""
        return os.geteuid() == self.uid


@dataclass(frozen=True, slots=True)
class Home:
    """The two directories of one platform: state that stays, and sockets that don't."""

    state: Path
    run: Path

    @property
    def keeper_socket(self) -> Path:
        """The keeper's control socket."""
        return self.run / "keeper.sock"

    def controller_socket(self, name: str) -> Path:
        """A controller's API socket."""
        return self.run / f"{name}.sock"

    @property
    def layout(self) -> Path:
        """Ports and site of this platform, as chosen at its first `up`."""
        return self.state / "platform.json"


def home(name: str = "embedded") -> Home:
    """The directories of the platform called `name`, or those below $SIAGA_HOME; creates nothing."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        raise BadInput(
            f"platform name `{name}`: expected a lower-case letter, then letters, digits and dashes, at most 31",
            hint="Choose a name such as `embedded`.",
        )
    given = os.environ.get("SIAGA_HOME")
    if given:
        state = Path(given).absolute()
    elif os.geteuid() == 0:
        state = Path("/var/lib/siaga") / name
    else:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "siaga" / name
    return Home(state=state, run=_run_directory(state))


def _run_directory(state: Path) -> Path:
    digest = hashlib.sha256(str(state).encode()).hexdigest()[:10]
    if os.geteuid() == 0 or (state.exists() and state.stat().st_uid == _siaga_uid()):
        return Path("/run/siaga") / digest
    return Path("/tmp") / f"siaga-{os.geteuid()}" / digest  # noqa: S108 (ownership is checked in `prepare`)


def _siaga_uid() -> int:
    try:
        return pwd.getpwnam(USER).pw_uid
    except KeyError:
        return -1


def find() -> Account:
    """The account for whoever we are; as root the user `siaga`, which is created when missing."""
    if os.geteuid() != 0:
        me = pwd.getpwuid(os.geteuid())
        return Account(me.pw_name, me.pw_uid, me.pw_gid)
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        _create_user()
        entry = pwd.getpwnam(USER)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _create_user() -> None:
    if shutil.which("useradd") is None:
        raise PlatformFault(
            "root may not run PostgreSQL, and `useradd` to create the user `siaga` was not found",
            hint="Create an unprivileged system user `siaga`, or run `siaga up` as an ordinary user.",
        )
    subprocess.run(
        ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", USER],  # noqa: S607
        check=True,
        capture_output=True,
    )


def prepare(place: Home, account: Account) -> None:
    """Create both directories, owned by the account and closed to others."""
    for directory in (place.state, place.run):
        for parent in reversed(directory.parents):
            _make(parent, 0o755)
        _make(directory, 0o700)
        # Never a directory that holds something of somebody else: SIAGA_HOME may be a slip of the finger.
        if os.geteuid() == 0 and not any(directory.iterdir()):
            os.chown(directory, account.uid, account.gid)
        if directory.stat().st_uid != account.uid:
            raise BadInput(
                f"{directory} belongs to uid {directory.stat().st_uid}, expected {account.uid} ({account.name})",
                hint="Set SIAGA_HOME to a directory of your own, or to one that does not exist yet.",
            )
    # The run directory may lie below /tmp, where anybody could have been there first.
    if place.run.parent.stat().st_uid not in (0, account.uid):
        raise BadInput(
            f"{place.run.parent} belongs to uid {place.run.parent.stat().st_uid}, expected {account.uid}",
            hint="Ask its owner or root to remove it; the platform's sockets lie there.",
        )
    if not account.is_us:
        closed = closed_to_others(place.state)
        if closed is not None:
            raise BadInput(
                f"SIAGA_HOME lies below {closed}, which the user `{account.name}` may not enter",
                hint="Choose a directory below /var/lib, or open the way with `chmod o+x`.",
            )


def _make(directory: Path, mode: int) -> None:
    try:
        directory.mkdir(mode=mode)
    except FileExistsError:
        return
    except OSError as error:
        raise BadInput(
            f"cannot create {directory}: {error.strerror}",
            hint="Set SIAGA_HOME to a directory you may write, on a disk with room.",
        ) from error


def closed_to_others(path: Path) -> Path | None:
    """The first directory above `path` that another user may not pass, or None."""
    for parent in reversed(path.resolve().parents):
        if not parent.stat().st_mode & 0o001:
            return parent
    return None
