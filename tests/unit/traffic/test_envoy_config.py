from __future__ import annotations

import copy
import json

import pytest
from envoy_lint import find, lint, look_up, parts
from traffic_sites import a_bootstrap, a_site

from siaga.errors import BadInput
from siaga.site.model import Node, Region
from siaga.traffic.envoy_clusters import Json
from siaga.traffic.envoy_config import bootstrap, check_endpoints, endpoints, render

pytestmark = pytest.mark.clause("ZDT-1.1a")

SHAPES = [(2, 2), (3, 2), (3, 14), (2, 20), (2, 1), (1, 1), (1, 40)]


@pytest.mark.parametrize(("regions", "nodes"), SHAPES)
def test_every_setting_that_is_wrong_by_default_is_set(regions: int, nodes: int) -> None:
    assert lint(a_bootstrap(a_site(regions, nodes))) == []


def test_the_lint_finds_any_key_that_goes_missing_or_astray() -> None:
    config = a_bootstrap(a_site(2, 2))
    tried = 0
    for name, part, rules in list(parts(config)):
        for path, wanted in rules.items():
            holder, key = find(part, path)
            kept = copy.copy(holder)
            del holder[key]
            assert [f for f in lint(config) if f.startswith(f"{name}: ")], f"without {path} of {name}"
            _put_back(holder, kept)
            if isinstance(wanted, str | int):
                holder[key] = "something else"
                assert [f for f in lint(config) if f.startswith(f"{name}: ")], f"with another {path} of {name}"
                _put_back(holder, kept)
            tried += 1
    assert tried > 250
    assert lint(config) == []


def test_a_request_that_may_not_be_repeated_is_never_hedged_or_cut_short() -> None:
    config = a_bootstrap(a_site(2, 2))
    (other,) = [part for name, part, _ in parts(config) if name == "door-sgp/other"]
    other["route"]["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    assert lint(config) == ["door-sgp/other: route.hedge_policy must not be there"]


def test_users_meet_their_own_region_first_and_the_others_by_distance() -> None:
    site = a_site(3, 2)
    config = a_bootstrap(site)
    (doors,) = [c for c in config["static_resources"]["clusters"] if c["name"] == "doors-from-fra"]
    order = [
        e["lb_endpoints"][0]["metadata"]["filter_metadata"]["envoy.lb"]["region"]
        for e in doors["load_assignment"]["endpoints"]
    ]
    assert order == ["fra", "sgp", "iad"]
    assert [e["priority"] for e in doors["load_assignment"]["endpoints"]] == [0, 1, 2]


def test_the_try_at_a_node_depends_on_its_region_only() -> None:
    config = a_bootstrap(a_site(2, 2))
    tries = {
        name: look_up(part, "route.retry_policy.per_try_timeout")
        for name, part, _ in parts(config)
        if name.endswith("/safe")
    }
    assert (tries["door-sgp/safe"], tries["door-fra/safe"]) == ("0.200s", "0.240s")
    # The front door waits longer than any living door takes, so that a far door never counts as a sick one.
    assert (tries["front-sgp/safe"], tries["front-fra/safe"]) == ("0.740s", "0.660s")


def test_the_last_resort_comes_after_every_region_was_asked() -> None:
    for regions in (1, 2, 3):
        config = a_bootstrap(a_site(regions, 2))
        for name, part, _ in parts(config):
            if name.endswith("/last-resort"):
                assert regions + 1 == look_up(part, "match.headers.0.range_match.start")
            if name.startswith("front-") and name.endswith("/safe"):
                assert regions == look_up(part, "route.retry_policy.num_retries")


def test_a_lone_region_serves_from_bad_nodes_rather_than_from_none() -> None:
    assert _panic(a_bootstrap(a_site(1, 2))) == 1
    assert _panic(a_bootstrap(a_site(2, 2))) == 0


def test_a_probe_listener_reaches_every_node_of_every_region_without_help() -> None:
    site = a_site(3, 2)
    for listener in a_bootstrap(site)["static_resources"]["listeners"]:
        if listener["name"].startswith("probe-"):
            manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
            routes = {r["name"]: r for r in manager["route_config"]["virtual_hosts"][0]["routes"]}
            assert {node.name for node in site.nodes} <= set(routes)
            assert not any("retry_policy" in r.get("route", {}) for r in routes.values())


def test_a_weight_of_0_drains_and_any_other_is_a_share() -> None:
    region = a_site(2, 2).regions[0]
    first, second = endpoints(region, {"sgp-1": 0, "sgp-2": 10})["resources"][0]["endpoints"][0]["lb_endpoints"]
    assert (first["health_status"], second["health_status"]) == ("DRAINING", "HEALTHY")
    assert second["load_balancing_weight"] == 10


@pytest.mark.parametrize("weight", [-1, 101])
def test_a_weight_out_of_range_is_refused(weight: int) -> None:
    with pytest.raises(BadInput, match=f"node `sgp-1` has weight {weight}, wanted 0 to 100"):
        endpoints(a_site(2, 2).regions[0], {"sgp-1": weight})


def test_a_node_of_another_region_is_refused() -> None:
    with pytest.raises(BadInput, match="`fra-1` is no node of region `sgp`"):
        endpoints(a_site(2, 2).regions[0], {"fra-1": 100})


def _first_endpoint(document: Json) -> Json:
    endpoint: Json = document["resources"][0]["endpoints"][0]["lb_endpoints"][0]
    return endpoint


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d["resources"].clear(),
        lambda d: d["resources"][0].update(cluster_name="nodes-fra"),
        lambda d: d["resources"][0]["endpoints"][0]["lb_endpoints"].pop(),
        lambda d: _first_endpoint(d).update(load_balancing_weight=0),
        lambda d: _first_endpoint(d).update(health_status="WELL"),
        lambda d: _first_endpoint(d)["endpoint"]["address"]["socket_address"].update(address="node.example"),
        lambda d: _first_endpoint(d)["endpoint"]["address"]["socket_address"].update(port_value=0),
        lambda d: _first_endpoint(d).clear(),
    ],
)
def test_a_damaged_discovery_file_is_refused(damage) -> None:  # type: ignore[no-untyped-def]
    region = a_site(2, 2).regions[0]
    document = json.loads(render(endpoints(region, {})))
    check_endpoints(document, region)
    damage(document)
    with pytest.raises(BadInput, match="the discovery file of region `sgp` is not fit for Envoy"):
        check_endpoints(document, region)


def test_a_node_known_by_host_name_only_is_refused_before_envoy_sees_it() -> None:
    region = Region(name="sgp", nodes=(Node(name="sgp-1", address="node.example:80"),))
    with pytest.raises(BadInput, match="`node.example:80` is no address"):
        check_endpoints(endpoints(region, {}), region)


def test_an_admin_interface_open_to_others_is_refused() -> None:
    site = a_site(1, 1)
    with pytest.raises(BadInput, match="wanted loopback or the path of a socket"):
        bootstrap(site, admin="0.0.0.0:9901", discovery_directory="/d", far_doors={}, probes={"sgp": "127.0.0.1:1"})


def test_a_missing_address_is_named() -> None:
    site = a_site(2, 1)
    with pytest.raises(BadInput, match="the door of `fra` as `sgp` reaches it is missing"):
        bootstrap(
            site,
            admin="/run/envoy.sock",
            discovery_directory="/d",
            far_doors={},
            probes={"sgp": "127.0.0.1:1", "fra": "127.0.0.1:2"},
        )


def test_the_configuration_is_the_same_each_time() -> None:
    assert render(a_bootstrap(a_site(3, 14))) == render(a_bootstrap(a_site(3, 14)))


def _put_back(holder: Json | list[object], kept: Json | list[object]) -> None:
    holder.clear()
    if isinstance(holder, dict):
        assert isinstance(kept, dict)
        holder.update(kept)
    else:
        holder.extend(kept)


def _panic(config: Json) -> int:
    (cluster,) = [c for c in config["static_resources"]["clusters"] if c["name"] == "nodes-sgp"]
    return int(cluster["common_lb_config"]["healthy_panic_threshold"]["value"])
