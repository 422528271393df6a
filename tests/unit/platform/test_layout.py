"""Where everything stands: addresses, ports, and what a later command reads back."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from siaga.errors import BadInput, PlatformFault
from siaga.platform import account, layout, packages
from siaga.platform.account import Home
from siaga.site.load import embedded


def laid_out(directory: Path) -> layout.Layout:
    site = embedded()
    keys = layout.listeners(site)
    return layout.resolve(Home(directory, directory), site, dict(zip(keys, range(21_000, 22_000), strict=False)))


def test_every_listener_has_a_port_of_its_own(tmp_path: Path) -> None:
    keys = layout.listeners(embedded())
    assert len(keys) == len(set(keys))
    assert {"far-sgp-fra", "far-fra-sgp", "pooler-fra", "front-sgp", "door-fra", "sessions-6-bus"} <= set(keys)
    assert "pooler-sgp" not in keys, "the database's own region has no distance to it"


def test_a_resolved_site_names_every_address(tmp_path: Path) -> None:
    site = laid_out(tmp_path).site
    assert all(node.address for node in site.nodes)
    assert all(region.front_door and region.door for region in site.regions)
    assert all(server.address for server in (*site.transactions.servers, *site.sessions.servers))
    assert site.transactions.pooler is not None


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    chosen = laid_out(tmp_path)
    layout.save(chosen)
    found = layout.load(chosen.place)
    assert found is not None
    assert (found.site, found.ports) == (chosen.site, chosen.ports)
    assert stat.S_IMODE(chosen.place.layout.stat().st_mode) == 0o600


def test_before_the_first_up_there_is_nothing(tmp_path: Path) -> None:
    assert layout.load(Home(tmp_path, tmp_path)) is None


@pytest.mark.parametrize("content", ['{"format": 1, "po', '{"format": 7}'])
def test_a_damaged_or_foreign_layout_is_refused_with_a_way_out(tmp_path: Path, content: str) -> None:
    place = Home(tmp_path, tmp_path)
    place.layout.write_text(content)
    with pytest.raises(BadInput) as refused:
        layout.load(place)
    assert "siaga down --purge" in refused.value.hint


def test_a_platform_name_that_is_no_name_is_refused() -> None:
    with pytest.raises(BadInput, match="expected a lower-case letter"):
        account.home("../etc")


def test_without_a_package_manager_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(packages, "SYSTEM_DIRECTORIES", str(tmp_path))
    with pytest.raises(PlatformFault, match="no apt-get") as refused:
        packages.obtain_pgbouncer()
    assert "apt-get install pgbouncer" in refused.value.hint
