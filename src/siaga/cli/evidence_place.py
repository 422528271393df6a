"""Where the evidence is that a command reads, its keys and its witness, and what can go wrong with them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from siaga.controller import state
from siaga.controller.state_version import evidence_directory, evidence_origin, keys_directory
from siaga.errors import BadInput, PlatformFault, StoreFault, Unreachable
from siaga.evidence.postgres import PostgresStore
from siaga.evidence.segments import Segments, Unreadable
from siaga.evidence.selection import EVERYTHING, BadLine, latest
from siaga.evidence.signatures import BadNote, Checkpoint, Key
from siaga.evidence.verify_export import read_keys
from siaga.evidence.witness_client import WitnessClient, WitnessRefused
from siaga.platform import account, control_database, lifecycle, witness

Directory = Annotated[Path | None, Parameter(help="An evidence directory; without it, this platform's.")]
Keys = Annotated[Path | None, Parameter(help="Where `log.pub` and `witness.pub` are; without it, the platform's own.")]


@dataclass(frozen=True, slots=True)
class Place:
    """The evidence that is meant."""

    source: Segments | PostgresStore
    keys: Path
    witness: Path | None
    """The witness's socket; unknown for a directory from elsewhere."""


def find(directory: Path | None, keys: Path | None) -> Place:
    """The evidence in a directory, or, without one, this platform's; BadInput where there is none."""
    with reading():
        if directory is not None:
            return Place(Segments(directory), keys or directory.parent / "keys", None)
        layout = lifecycle.required(account.home())
        controller = layout.directory("controller")
        generation = state.read(controller).generation
        within = controller / evidence_directory(generation)
        source: Segments | PostgresStore
        if layout.site.controller.state == "postgresql":
            source = PostgresStore(
                control_database.connector(layout, control_database.READER),
                origin=evidence_origin(layout.site.name, generation),
                epoch=0,
                directory=within,
            )
        else:
            source = Segments(within)
        return Place(source, keys or controller / keys_directory(generation), witness.socket(layout.place.run))


def read_keys_in(path: Path) -> list[Key]:
    """The public keys in a file; BadInput says why there are none."""
    try:
        return read_keys(path)
    except (OSError, BadNote, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(
            f"{path}: {why}, expected public keys, one a line",
            hint="Name the directory that holds `log.pub` and `witness.pub` with `--keys`.",
        ) from error


def witness_remembers(place: Place) -> tuple[list[Checkpoint], str]:
    """The last checkpoint that the witness itself remembers, and what is to be said of it."""
    if place.witness is None:
        return [], "not asked, the directory is not this platform's"
    try:
        found = asyncio.run(WitnessClient(place.witness).last(place.source.origin))
    except (Unreachable, WitnessRefused) as error:
        return [], f"could not be asked: {error.message}"
    if found.checkpoint is None:
        return [], "has seen nothing of this log yet"
    return [found.checkpoint], f"remembers {found.checkpoint.size} records" + (
        f", and has refused since: {found.refusal}" if found.refusal else ""
    )


@contextmanager
def reading() -> Iterator[None]:
    """What can go wrong with evidence that is read, with the next move."""
    try:
        yield
    except Unreadable as error:
        raise BadInput(str(error), hint="Name an evidence directory with `--directory`.") from error
    except BadLine as error:
        raise PlatformFault(str(error), hint="Run `siaga evidence verify`, which names it.") from error
    except StoreFault as error:
        raise Unreachable(
            f"the evidence can't be read: {error}", hint="Look at the part `control-db` with `siaga status`."
        ) from error
    except OSError as error:
        raise BadInput(
            f"the evidence can't be read: {error.strerror or error}", hint="Read it as the platform's user, or as root."
        ) from error


@contextmanager
def progress_bar(what: str, source: Segments | PostgresStore) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where somebody looks at it."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as shown:
        task = shown.add_task(what, total=_size(source), completed=source.start.size)
        yield lambda size: shown.update(task, completed=size)


def _size(source: Segments | PostgresStore) -> int | None:
    """How many records there are, as the last one says; unknown where it can't be read."""
    try:
        return int(latest(source.newest_first(), 1, EVERYTHING)[-1]["number"]) + 1
    except (BadLine, IndexError):
        return None
