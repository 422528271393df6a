"""Sites of any size, with every address filled in."""

from __future__ import annotations

from itertools import count, permutations

from siaga.site.model import Database, DatabaseServer, Distance, Node, Region, SessionStore, Site
from siaga.traffic.envoy_clusters import Json
from siaga.traffic.envoy_config import bootstrap

REGIONS = ("sgp", "fra", "iad", "syd")


def a_site(regions: int, nodes: int, round_trip_ms: int = 160) -> Site:
    """`regions` regions of `nodes` nodes each; the database is in the first."""
    port = count(10_000)
    names = REGIONS[:regions]
    return Site(
        regions=tuple(
            Region(
                name=name,
                front_door=f"127.0.0.1:{next(port)}",
                door=f"127.0.0.1:{next(port)}",
                nodes=tuple(
                    Node(name=f"{name}-{number + 1}", address=f"127.0.0.1:{next(port)}") for number in range(nodes)
                ),
            )
            for name in names
        ),
        distances=tuple(
            Distance(between=(one, other), round_trip_ms=round_trip_ms)
            for number, one in enumerate(names)
            for other in names[number + 1 :]
        ),
        transactions=Database(servers=(_server("t", next(port)),), database="t", region="sgp"),
        history=Database(servers=(_server("h", next(port)),), database="h", region="sgp"),
        sessions=SessionStore(servers=(_server("s", next(port)),)),
    )


def a_bootstrap(site: Site) -> Json:
    """Its configuration, with made-up addresses for what the platform adds."""
    names = [region.name for region in site.regions]
    return bootstrap(
        site,
        admin="127.0.0.1:9901",
        discovery_directory="/run/siaga/discovery",
        far_doors={pair: f"127.0.0.1:{20_000 + number}" for number, pair in enumerate(permutations(names, 2))},
        probes={name: f"127.0.0.1:{21_000 + number}" for number, name in enumerate(names)},
    )


def _server(name: str, port: int) -> DatabaseServer:
    return DatabaseServer(name=name, address=f"127.0.0.1:{port}")
