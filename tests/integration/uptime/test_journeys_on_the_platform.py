"""Journeys and counters against the embedded platform itself: its wallet, its front doors, its Envoy."""

from __future__ import annotations

import pytest
from platform_under_test import Platform

from siaga.platform import layout, secrets
from siaga.platform.account import Home
from siaga.platform.layout import Layout
from siaga.uptime.counters import EnvoyCounters
from siaga.uptime.journeys import Attempt, Kind, provided_accounts
from siaga.uptime.model import Outcome
from siaga.uptime.wallet_journey import WalletJourney

pytestmark = pytest.mark.clause("ZDT-1")


@pytest.fixture
def resolved(platform: Platform) -> Layout:
    found = layout.load(Home(state=platform.home, run=platform.home))
    assert found is not None
    return found


async def test_every_regions_users_can_log_in_see_their_balance_and_transfer(resolved: Layout) -> None:
    secret = secrets.read(resolved.secret("probe-accounts"))
    counters = EnvoyCounters(resolved.address("envoy-admin"))
    try:
        before = await counters.read()
        for region in resolved.site.regions:
            journey = WalletJourney(
                # Accounts of its own: the controller's journeys move the others' money at the same time.
                f"http://{region.front_door}",
                provided_accounts(f"test-{region.name}", secret),
                provision=True,
            )
            try:
                for kind in (Kind.FULL, Kind.LIGHT, Kind.FULL, Kind.AGAIN):
                    assert await _travel(journey, kind) == Attempt(Outcome.OK)
            finally:
                await journey.close()
        after = await counters.read()
    finally:
        await counters.close()
    assert set(after) == {region.name for region in resolved.site.regions}
    for name, (answered, _) in after.items():
        assert answered - before[name][0] >= 10


async def _travel(journey: WalletJourney, kind: Kind) -> Attempt:
    """Once it works: on a busy machine the wallet may say once that its database takes too long."""
    for _ in range(5):
        found = await journey.travel(kind)
        if found.outcome is Outcome.OK:
            break
    return found
