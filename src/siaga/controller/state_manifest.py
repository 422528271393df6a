"""What a backup of the state holds, as a list with digests: written last, checked first (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from siaga.controller import state_version
from siaga.errors import BadInput

NAME = "manifest.json"
FORMAT = 1
CONTROLLER = "controller"
SECRETS = "secrets"
PLATFORM = "platform.json"
_HINT = "Take another backup; this one was cut off, changed, or is not one. Nothing was changed."


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a backup."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Of one backup."""

    site: str
    made_at: str
    """UTC, ISO 8601."""
    siaga: str
    state_format: int
    state: str
    """`sqlite`: the journal and the evidence are in here; `postgresql`: they are in that database."""
    epoch: int
    origin: str
    """The evidence log in here; empty when none."""
    records: int
    """How many records it has."""
    members: tuple[Member, ...]


def to_document(manifest: Manifest) -> dict[str, Any]:
    """As JSON."""
    return {"format": FORMAT, **asdict(manifest)}


def from_document(document: object, source: str) -> Manifest:
    """Read it back; BadInput when it is no manifest, or one of a program that is too new."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise BadInput(f"{source} is not a backup of siaga's state that this program knows", hint=_HINT)
    try:
        fields = {name: document[name] for name in Manifest.__dataclass_fields__}
        members = tuple(Member(**member) for member in fields.pop("members"))
        manifest = Manifest(**fields, members=members)
    except (KeyError, TypeError) as error:
        raise BadInput(f"{source}: its manifest is damaged ({error})", hint=_HINT) from error
    state_version.check(manifest.state_format, manifest.siaga, origin=source)
    for member in members:
        check_path(member.path, source)
    return manifest


def check_path(path: str, source: str) -> None:
    """BadInput unless it is one of the places that a backup is made of."""
    parts = PurePosixPath(path).parts
    inside = path == PLATFORM or (len(parts) > 1 and parts[0] in (CONTROLLER, SECRETS))
    if not inside or ".." in parts or path.startswith("/") or str(PurePosixPath(path)) != path:
        raise BadInput(f"{source} holds `{path}`, expected only the controllers' state", hint=_HINT)


def compare(manifest: Manifest, found: Iterable[Member], source: str) -> None:
    """BadInput names the first file that is missing, changed or not in the manifest."""
    wanted = {member.path: member for member in manifest.members}
    for member in found:
        expected = wanted.pop(member.path, None)
        if expected is None:
            raise BadInput(f"{source} holds `{member.path}`, which its manifest does not name", hint=_HINT)
        if member != expected:
            raise BadInput(
                f"{source}: `{member.path}` has {member.bytes} bytes and SHA-256 {member.sha256[:12]}…, "
                f"expected {expected.bytes} and {expected.sha256[:12]}…",
                hint=_HINT,
            )
    for path in wanted:
        raise BadInput(f"{source}: `{path}` is missing, which its manifest names", hint=_HINT)
