"""What stands where: every part of the embedded platform, its address and its directories.

Ports are chosen free at the first `up` and kept (decision 6). The site that comes out has every
address filled in, so that nobody downstream can tell an embedded site from an existing one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from siaga.errors import BadInput
from siaga.hosts.local import write_and_rename
from siaga.platform.account import Home
from siaga.site.load import from_json, to_json
from siaga.site.model import Site

FORMAT = 1
CONTROL_DATABASE = "control-db"
"""The PostgreSQL that holds the controllers' own state; the platform's data is never in it."""


@dataclass(frozen=True)
class Layout:
    """The resolved platform."""

    place: Home
    site: Site
    ports: Mapping[str, int]

    def address(self, key: str) -> str:
        """`host:port` of the listener called `key`."""
        return f"127.0.0.1:{self.ports[key]}"

    def directory(self, part: str) -> Path:
        """Where a part keeps its state."""
        return self.place.state / part

    def log(self, part: str) -> Path:
        """Where a part's output goes."""
        return self.place.state / "logs" / f"{part}.log"

    def secret(self, name: str) -> Path:
        """The file that holds the secret called `name`."""
        return self.place.state / "secrets" / name

    @property
    def controller_sockets(self) -> tuple[Path, ...]:
        """The API sockets of the controllers, the one that usually leads first."""
        return tuple(self.place.controller_socket(name) for name in self.site.controller.names)

    @property
    def parts(self) -> Mapping[str, str]:
        """Every process of the platform with the listener it answers on ("" when it has none)."""
        site = self.site
        servers = (*site.transactions.servers, *site.history.servers, *site.sessions.servers)
        first = site.regions[0].name
        return {
            **{server.name: self.address(server.name) for server in servers},
            "pgbouncer": self.address("pgbouncer"),
            "journal": "",
            "distance": "",
            **{node.name: self.address(node.name) for node in site.nodes},
            **{f"vendor-{vendor.name}": self.address(f"vendor-{vendor.name}") for vendor in site.vendors},
            "front-door": self.address(f"front-{first}"),
            "witness": "",
            **{name: self.address(name) for name in (*state_servers(site), *site.controller.names)},
        }

    @property
    def discovery(self) -> Path:
        """Envoy's discovery files."""
        return self.place.state / "discovery"

    @property
    def home_region(self) -> str:
        """The region the transaction database stands in."""
        return self.site.transactions.region

    def far_door(self, origin: str, region: str) -> str:
        """Where `origin`'s front door reaches another region's door: at the near end of the distance."""
        return self.address(f"far-{origin}-{region}")

    def pooler_from(self, region: str) -> str:
        """Where a node of `region` reaches PgBouncer."""
        return self.address("pgbouncer" if region == self.home_region else f"pooler-{region}")


def state_servers(site: Site) -> tuple[str, ...]:
    """The server that holds the controllers' own state, where that is not SQLite."""
    return (CONTROL_DATABASE,) if site.controller.state == "postgresql" else ()


def listeners(site: Site) -> tuple[str, ...]:
    """Every listener that wants a port of its own."""
    keys = ["pgbouncer", "envoy-admin", *state_servers(site), *site.controller.names]
    for database in (site.transactions, site.history):
        keys += [server.name for server in database.servers]
    for server in site.sessions.servers:
        keys += [server.name, f"{server.name}-bus"]
    for region in site.regions:
        keys += [f"front-{region.name}", f"door-{region.name}", f"probe-{region.name}"]
        keys += [f"far-{region.name}-{other.name}" for other in site.regions if other.name != region.name]
        keys += [node.name for node in region.nodes]
        if region.name != site.transactions.region:
            keys.append(f"pooler-{region.name}")
    keys += [f"vendor-{vendor.name}" for vendor in site.vendors]
    return tuple(keys)


def resolve(place: Home, site: Site, ports: Mapping[str, int]) -> Layout:
    """Fill every address of an embedded site."""

    def at(key: str) -> str:
        return f"127.0.0.1:{ports[key]}"

    regions = tuple(
        region.model_copy(
            update={
                "front_door": at(f"front-{region.name}"),
                "door": at(f"door-{region.name}"),
                "nodes": tuple(node.model_copy(update={"address": at(node.name)}) for node in region.nodes),
            }
        )
        for region in site.regions
    )
    resolved = site.model_copy(
        update={
            "regions": regions,
            "transactions": site.transactions.model_copy(
                update={
                    "pooler": at("pgbouncer"),
                    "servers": tuple(s.model_copy(update={"address": at(s.name)}) for s in site.transactions.servers),
                }
            ),
            "history": site.history.model_copy(
                update={"servers": tuple(s.model_copy(update={"address": at(s.name)}) for s in site.history.servers)}
            ),
            "sessions": site.sessions.model_copy(
                update={"servers": tuple(s.model_copy(update={"address": at(s.name)}) for s in site.sessions.servers)}
            ),
            "vendors": tuple(v.model_copy(update={"url": f"http://{at(f'vendor-{v.name}')}"}) for v in site.vendors),
        }
    )
    if state_servers(site):
        controller = site.controller.model_copy(update={"address": at(CONTROL_DATABASE)})
        resolved = resolved.model_copy(update={"controller": controller})
    return Layout(place=place, site=resolved, ports=dict(ports))


def save(layout: Layout) -> None:
    """Keep ports and site for every later command."""
    document = {"format": FORMAT, "ports": dict(layout.ports), "site": json.loads(to_json(layout.site))}
    write_and_rename(layout.place.layout, json.dumps(document, indent=1).encode())


def load(place: Home) -> Layout | None:
    """The platform as it was chosen, or None before the first `up`."""
    try:
        document = json.loads(place.layout.read_bytes())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise BadInput(
            f"{place.layout} may not be read by this user",
            hint="Run the command as the user that started the platform, or as root.",
        ) from error
    except ValueError as error:
        raise BadInput(
            f"{place.layout} is not valid JSON: {error}",
            hint="Restore the file, or start afresh with `siaga down --purge` (this removes the platform's state).",
        ) from error
    if document.get("format") != FORMAT:
        raise BadInput(
            f"{place.layout} has format {document.get('format')}, this version reads format {FORMAT}",
            hint="Use the version of siaga that made it, or start afresh with `siaga down --purge`.",
        )
    return Layout(place=place, site=from_json(json.dumps(document["site"])), ports=document["ports"])
