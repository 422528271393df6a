"""The embedded Envoy: its configuration files and how the keeper runs it."""

from __future__ import annotations

from pathlib import Path

from siaga.errors import PlatformFault
from siaga.hosts.keeper import Spec
from siaga.hosts.model import Host
from siaga.platform.engines import Engines
from siaga.platform.layout import Layout
from siaga.traffic import envoy_config
from siaga.traffic.envoy import validate


def spec(layout: Layout, engines: Engines) -> Spec:
    """How the keeper runs it."""
    return Spec(
        name="front-door",
        kind="envoy",
        argv=(
            str(engines.envoy),
            "--config-path",
            str(_bootstrap_path(layout)),
            "--disable-hot-restart",
            "--concurrency",
            "2",
            "--log-level",
            "warning",
        ),
        log=str(layout.log("front-door")),
        stop_grace_s=3.0,
    )


async def configure(host: Host, layout: Layout, engines: Engines) -> None:
    """Write the static configuration, validated by Envoy itself, and endpoints where there are none yet.

    Existing endpoint files stay: they carry the controller's drains over a restart.
    """
    layout.discovery.mkdir(mode=0o700, exist_ok=True)
    site = layout.site
    for region in site.regions:
        path = layout.discovery / envoy_config.discovery_file(region.name)
        if not path.exists():
            weights = {node.name: envoy_config.WEIGHT_MAX for node in region.nodes}
            content = envoy_config.render(envoy_config.endpoints(region, weights))
            await host.write(str(path), content.encode())
    bootstrap = envoy_config.bootstrap(
        site,
        admin=layout.address("envoy-admin"),
        discovery_directory=str(layout.discovery),
        far_doors={
            (origin.name, other.name): layout.far_door(origin.name, other.name)
            for origin in site.regions
            for other in site.regions
            if origin.name != other.name
        },
        probes={region.name: layout.address(f"probe-{region.name}") for region in site.regions},
    )
    candidate = _bootstrap_path(layout).with_suffix(".candidate.json")
    await host.write(str(candidate), envoy_config.render(bootstrap).encode())
    refusal = await validate(host, str(engines.envoy), str(candidate))
    if refusal:
        raise PlatformFault(
            f"Envoy refuses the generated configuration: {refusal}",
            hint="This is a fault of siaga; please report it with the site file.",
        )
    candidate.rename(_bootstrap_path(layout))


def _bootstrap_path(layout: Layout) -> Path:
    return layout.directory("config") / "envoy.json"
