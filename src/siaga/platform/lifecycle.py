"""`up` and `down` as whole commands: find the account, stage the engines, then work as that user.

As root only this much runs as root: making the user, its directories and its copy of the programs.
The rest runs in a child as the platform's user, through the same code an ordinary user runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from siaga.errors import BadInput, Exit, PlatformFault, Refused, SiagaError
from siaga.hosts.keeper_client import KeeperClient
from siaga.hosts.local import LocalHost
from siaga.platform import account, engines, layout, packages
from siaga.platform.account import Account, Home
from siaga.platform.engines import Engines
from siaga.platform.layout import Layout
from siaga.platform.progress import Progress
from siaga.site.load import embedded, from_json, to_json
from siaga.site.model import Site

FREE_BYTES_MIN = 1 << 30
# Users first, data last: nobody is cut off by a server that has gone before those who need it.
_STOP_ORDER = (("envoy",), ("application node", "controller", "vendor simulator"), ("pgbouncer", "relay"), ("valkey",))


def bring_up(place: Home, site: Site | None, *, quiet: bool) -> Layout:
    """Bring the platform up as its user; returns when users are served."""
    if site is not None and not site.embedded:
        raise Refused(
            f"site `{site.name}` is an existing platform, and `siaga up` starts only embedded ones so far",
            hint="Set `embedded = true` and leave the addresses out to try it on this machine.",
        )
    who = account.find()
    account.prepare(place, who)
    _check_room(place)
    programs = engines.locate(place.state, who, packages.obtain_pgbouncer())
    order = {"engines": _plain(programs), "site": json.loads(to_json(site)) if site is not None else None}
    _as_account(who, programs, "up", place, quiet, order)
    return required(place)


def take_down(place: Home, *, purge: bool, quiet: bool) -> None:
    """Stop everything; `purge` removes the state too. Nothing to stop is fine."""
    if place.state.exists() and layout.load(place) is not None:
        who = account.find()
        programs = engines.locate(place.state, who, packages.find_pgbouncer() or (Path(), {}))
        _as_account(who, programs, "down", place, quiet, {"engines": _plain(programs), "site": None})
    if purge:
        _remove(place)


def _check_room(place: Home) -> None:
    """Before anything is made: half a platform on a full disk helps nobody."""
    free = shutil.disk_usage(place.state).free
    if free < FREE_BYTES_MIN:
        raise PlatformFault(
            f"{free // (1 << 20)} MiB are free below {place.state}, wanted {FREE_BYTES_MIN // (1 << 20)} MiB",
            hint="Make room, or set SIAGA_HOME to a directory on another disk.",
        )


def _remove(place: Home) -> None:
    """Only ever what `up` made: a directory without our layout file stays."""
    if place.state.exists():
        strangers = not place.layout.exists() and any(place.state.iterdir())
        if strangers and not (place.state / "up.lock").exists():
            raise Refused(
                f"{place.state} holds files, but none of a platform of siaga",
                hint="Check SIAGA_HOME; remove the directory by hand if it is the right one.",
            )
        shutil.rmtree(place.state)
    shutil.rmtree(place.run, ignore_errors=True)


def required(place: Home) -> Layout:
    """The platform's layout; BadInput when there is no platform here."""
    found = layout.load(place) if place.state.exists() else None
    if found is None:
        raise BadInput(f"there is no platform in {place.state}", hint="Start one with `siaga up`.")
    return found


def _plain(programs: Engines) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(programs).items()}


def _as_account(
    who: Account, programs: Engines, verb: str, place: Home, quiet: bool, order: Mapping[str, object]
) -> None:
    """Run this module as the platform's user; its complaints and exit code become ours."""
    arguments = [verb, str(place.state), str(place.run), "quiet" if quiet else "loud"]
    drop: dict[str, Any] = {} if who.is_us else {"user": who.uid, "group": who.gid, "extra_groups": []}
    environment = {**os.environ, **programs.python_env, "HOME": str(place.state)}
    child = subprocess.Popen(
        [*programs.python, "-m", "siaga.platform.lifecycle", *arguments],
        env=environment,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **drop,
    )
    try:
        answer, _ = child.communicate(json.dumps(order).encode())
    except KeyboardInterrupt:
        child.wait(timeout=30)
        raise
    if child.returncode != 0:
        raise _complaint(verb, child.returncode, answer)


def _complaint(verb: str, code: int, answer: bytes) -> SiagaError:
    kinds: dict[int, type[SiagaError]] = {Exit.USAGE: BadInput, Exit.REFUSED: Refused}
    try:
        said = json.loads(answer)
    except ValueError:
        return PlatformFault(f"`{verb}` ended with code {code}", hint="See the lines above.")
    return kinds.get(code, PlatformFault)(said["message"], hint=said["hint"])


# As the platform's user ---------------------------------------------------------------------------------


async def _up(place: Home, programs: Engines, site: Site | None, progress: Progress) -> None:
    from siaga.platform.up import only_one, up

    with only_one(place, progress):
        known = layout.load(place)
        wanted = site or (known.site if known is not None else embedded())
        if known is not None:
            _refuse_to_move_state(known.site, wanted)
        ports = dict(known.ports) if known is not None else {}
        missing = [key for key in layout.listeners(wanted) if key not in ports]
        ports.update(zip(missing, await LocalHost().free_ports(len(missing)), strict=True))
        chosen = layout.resolve(place, wanted, {key: ports[key] for key in layout.listeners(wanted)})
        layout.save(chosen)
        await up(chosen, programs, progress)


def _refuse_to_move_state(known: Site, wanted: Site) -> None:
    """The evidence and the open runs would stay behind in the old store."""
    before, after = known.controller.state, wanted.controller.state
    if before != after:
        raise BadInput(
            f'controller.state = "{after}": this platform keeps its controllers\' state in "{before}", '
            "which is not moved in place",
            hint=f'Keep `state = "{before}"`, or start afresh with `siaga down --purge` (this removes everything).',
        )


async def _down(place: Home, programs: Engines, progress: Progress) -> None:
    from siaga.platform.up import only_one, start_keeper

    with only_one(place, progress):
        keeper = KeeperClient(place.keeper_socket)
        if not await keeper.answers():
            if not (place.state / "keeper.json").exists():
                return
            # Servers outlive a dead keeper; a new one adopts them and can stop them in their own way.
            start_keeper(place, programs.python, programs.python_env)
            async with asyncio.timeout(30):
                while not await keeper.answers():
                    await asyncio.sleep(0.03)
        parts = await keeper.parts()
        for kinds in _STOP_ORDER:
            await asyncio.gather(*(keeper.stop(p["name"], "siaga down") for p in parts if p["kind"] in kinds))
        rest = [p for p in parts if not any(p["kind"] in kinds for kinds in _STOP_ORDER)]
        await asyncio.gather(*(keeper.stop(p["name"], "siaga down") for p in rest))
        await keeper.leave()
        progress.say(f"{len(parts)} processes stopped")


def main(verb: str, state: str, run: str, loudness: str) -> int:
    """Entry point of the child."""
    order = json.load(sys.stdin)
    place = Home(state=Path(state), run=Path(run))
    found = order["engines"]
    paths = {key: Path(found[key]) for key in ("postgres", "valkey", "envoy", "pgbouncer")}
    programs = Engines(**{**found, **paths, "python": tuple(found["python"])})
    site = from_json(json.dumps(order["site"])) if order["site"] is not None else None
    progress = Progress(quiet=loudness == "quiet")
    try:
        if verb == "up":
            asyncio.run(_up(place, programs, site, progress))
        else:
            asyncio.run(_down(place, programs, progress))
    except SiagaError as error:
        print(json.dumps({"message": error.message, "hint": error.hint}))
        return int(error.exit_code)
    except OSError as error:
        hint = "Make room on the disk." if error.errno == 28 else "See the logs in the state directory."
        print(json.dumps({"message": f"{error.strerror}: {error.filename or ''}".strip(": "), "hint": hint}))
        return int(Exit.DOES_NOT_HOLD)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
