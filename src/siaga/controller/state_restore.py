"""Puts Siaga's own state back from a backup: checked as a whole first, exchanged in one step, the old kept aside.

What comes back is halted: runs that were open when the backup was made may be over, so a person looks before
anything acts. Secrets and ports that are here stay, since the servers know those.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from siaga.controller import levers_file, state, state_manifest
from siaga.controller.leadership_file import EPOCH, LOCK, hold, read_epoch
from siaga.controller.state_evidence import (
    EvidenceAfter,
    evidence_after,
    evidence_after_elsewhere,
    version_here,
)
from siaga.controller.state_manifest import CONTROLLER, NAME, PLATFORM, SECRETS, Manifest, Member
from siaga.controller.state_version import evidence_origin, keys_directory
from siaga.errors import BadInput, PlatformFault
from siaga.hosts.local import sync_directory, write_and_rename
from siaga.platform import account, layout
from siaga.platform.account import Home

EPOCHS_LEFT_OUT = 1_000_000
"""Added to the backup's epoch where the last one is not known: more than any controller was started since."""
_EVIDENCE = ("evidence", "keys", "spool")
"""What belongs to the evidence begins with one of these, below the controllers' directory."""
_SCRATCH = ".restore-"
_WITNESS = "witness/memory.json"
_EXCHANGE = 2
"""`RENAME_EXCHANGE` of linux/fs.h."""
_AT_FDCWD = -100


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did, or would do."""

    manifest: Manifest
    evidence: EvidenceAfter
    origin: str
    """The log that is written from now on."""
    epoch: int
    secrets: tuple[str, ...]
    """Those that were missing and came back."""
    replaced: Path | None
    """Where the state that was here is now."""


def restore(
    place: Home,
    source: Path,
    *,
    now: datetime,
    actor: str,
    accept_loss: str = "",
    dry_run: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Restored:
    """Restore from a backup. BadInput for a bad one, Refused while a controller runs or records would be lost."""
    who = account.find()
    account.prepare(place, who)
    here = place.state / CONTROLLER
    lock = hold(here, LOCK, shared=False)
    for path in (here, here / LOCK):
        os.chown(path, who.uid, who.gid)
    for left in place.state.glob(f"{_SCRATCH}*"):
        # Of a restore that was killed: it had changed nothing yet.
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=place.state))
    try:
        say("checking the backup")
        manifest = _unpack(source, scratch)
        _check_site(place, manifest, source)
        say("checking the evidence")
        plan = _plan(place, scratch, manifest, accept_loss)
        if dry_run:
            return plan
        say("putting it into place")
        _prepare(place, scratch, plan, accept_loss, actor, now)
        _own(scratch, who.uid, who.gid)
        return replace(plan, replaced=_put(place, scratch, now))
    except OSError as error:
        raise PlatformFault(
            f"the state was not restored: {error.strerror or error}", hint="Make room on the disk, then try again."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def _unpack(source: Path, scratch: Path) -> Manifest:
    """Unpack beside the state, and compare every file with the manifest; nothing else is touched."""
    manifest: Manifest | None = None
    found: list[Member] = []
    try:
        with tarfile.open(source, "r:") as tar:
            for entry in tar:
                if manifest is not None or not entry.isreg():
                    raise BadInput(
                        f"{source} holds `{entry.name}`, expected plain files, the manifest last", hint=_OTHER
                    )
                content = tar.extractfile(entry)
                assert content is not None, "a regular file"
                if entry.name == NAME:
                    manifest = state_manifest.from_document(json.load(content), str(source))
                else:
                    found.append(_unpack_file(entry.name, content, scratch, source))
    except FileNotFoundError as error:
        raise BadInput(f"{source}: no such file, expected a backup", hint=_OTHER) from error
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise BadInput(f"{source} is not a backup, or was cut off: {error}", hint=_OTHER) from error
    if manifest is None:
        raise BadInput(f"{source} was cut off: it has no manifest", hint=_OTHER)
    state_manifest.compare(manifest, found, str(source))
    return manifest


_OTHER = "Take another backup; nothing was changed."


def _unpack_file(name: str, content: Any, scratch: Path, source: Path) -> Member:
    state_manifest.check_path(name, str(source))
    path = scratch / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while block := content.read(1 << 20):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return Member(name, file.tell(), digest.hexdigest())


def _check_site(place: Home, manifest: Manifest, source: Path) -> None:
    known = layout.load(place)
    if known is None:
        return
    for what, found, wanted in (
        ("site", manifest.site, known.site.name),
        ("controller.state", manifest.state, known.site.controller.state),
    ):
        if found != wanted:
            raise BadInput(
                f"{source} is of a platform with {what} `{found}`, this one has `{wanted}`",
                hint="Set SIAGA_HOME to the directory of the platform that it belongs to.",
            )


def _plan(place: Home, scratch: Path, manifest: Manifest, accept_loss: str) -> Restored:
    here, unpacked = place.state / CONTROLLER, scratch / CONTROLLER
    goes_on = evidence_after if manifest.state == "sqlite" else evidence_after_elsewhere
    evidence = goes_on(here, unpacked, place.state / _WITNESS, manifest, accept_loss)
    return Restored(
        manifest=manifest,
        evidence=evidence,
        origin=evidence_origin(manifest.site, evidence.generation),
        epoch=_epoch(here, manifest),
        secrets=tuple(p.name for p in _files(scratch / SECRETS) if not (place.state / SECRETS / p.name).exists()),
        replaced=None,
    )


def _epoch(here: Path, manifest: Manifest) -> int:
    with contextlib.suppress(BadInput):
        if (here / EPOCH).exists():
            return max(read_epoch(here / EPOCH), manifest.epoch)
    return manifest.epoch + EPOCHS_LEFT_OUT


def _prepare(place: Home, scratch: Path, plan: Restored, accept_loss: str, actor: str, now: datetime) -> None:
    """Make the unpacked directory the one that the platform goes on with."""
    here, unpacked = place.state / CONTROLLER, scratch / CONTROLLER
    unpacked.mkdir(mode=0o700, exist_ok=True)
    found, before = state.read(unpacked), version_here(here)
    if plan.evidence.kept:
        _keep_evidence(here, unpacked)
    generation = plan.evidence.generation
    # An account of an earlier loss belongs to the log that it begins.
    continues = before.continues if before.generation == generation else found.continues
    if generation > max(before.generation, found.generation):
        first, last = plan.evidence.lost or (None, None)
        continues = {
            "origin": evidence_origin(plan.manifest.site, generation - 1),
            "records": plan.evidence.records,
            "witnessed": plan.evidence.witnessed,
            "first_lost": first,
            "last_lost": last,
            "backup_made_at": plan.manifest.made_at,
            "actor": actor,
            "reason": accept_loss,
        }
        _trust_the_same_witness(unpacked, generation)
    version = replace(found, generation=generation, continues=continues)
    state.write(unpacked, version)
    write_and_rename(unpacked / EPOCH, f"{plan.epoch}\n".encode())
    made_at = plan.manifest.made_at
    reason = f"restored from the backup of {made_at}: look at the open runs, then `siaga resume`"
    levers_file.halt_while_dead(unpacked / "levers.json", reason, actor, now)


def _trust_the_same_witness(unpacked: Path, generation: int) -> None:
    """A new log has a new key, and no reason to believe the first witness that answers."""
    pinned = unpacked / keys_directory(generation - 1) / "witness.pub"
    if pinned.exists():
        keys = unpacked / keys_directory(generation)
        keys.mkdir(mode=0o700, exist_ok=True)
        shutil.copy2(pinned, keys / pinned.name)


def _keep_evidence(here: Path, unpacked: Path) -> None:
    for path in list(unpacked.iterdir()):
        if path.name.startswith(_EVIDENCE):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in here.iterdir():
        if path.name.startswith(_EVIDENCE):
            copy = unpacked / path.name
            shutil.copytree(path, copy) if path.is_dir() else shutil.copy2(path, copy)


def _own(scratch: Path, uid: int, gid: int) -> None:
    for directory, _, names in os.walk(scratch):
        os.chown(directory, uid, gid)
        for name in names:
            os.chown(Path(directory) / name, uid, gid)


def _put(place: Home, scratch: Path, now: datetime) -> Path:
    """The exchange: before it everything is as it was, after it everything is as restored."""
    secrets = place.state / SECRETS
    if not secrets.exists():
        (scratch / SECRETS).rename(secrets)
    for path in _files(scratch / SECRETS):
        if not (secrets / path.name).exists():
            path.rename(secrets / path.name)
    if not place.layout.exists():
        (scratch / PLATFORM).rename(place.layout)
    # Under its later name already: killed right after the exchange, the old state is where it belongs.
    aside = place.state / f"{CONTROLLER}.replaced-{now:%Y%m%dT%H%M%S.%fZ}"
    (scratch / CONTROLLER).rename(aside)
    # What was unpacked and copied is on the disk before it counts.
    os.sync()
    _exchange(aside, place.state / CONTROLLER)
    sync_directory(place.state)
    return aside


def _files(directory: Path) -> Iterator[Path]:
    return iter(sorted(directory.iterdir()) if directory.exists() else ())


def _exchange(one: Path, other: Path) -> None:
    """Two directories change places at once; there is no moment without either."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))
