"""What a site tells about its regions and nodes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from siaga.site.load import embedded
from siaga.site.model import Distance, Node, Region, Site


def three_regions() -> Site:
    regions = tuple(Region(name=name, nodes=(Node(name=f"{name}-1"),)) for name in ("sgp", "fra", "syd"))
    distances = tuple(
        Distance(between=between, round_trip_ms=ms)
        for between, ms in ((("sgp", "fra"), 160), (("syd", "sgp"), 90), (("fra", "syd"), 280))
    )
    return embedded().model_copy(update={"regions": regions, "distances": distances})


@pytest.mark.clause("ZDT-1.1a")
@pytest.mark.parametrize(("origin", "order"), [("sgp", "sgp syd fra"), ("fra", "fra sgp syd"), ("syd", "syd sgp fra")])
def test_regions_come_nearest_first_and_the_own_one_leads(origin: str, order: str) -> None:
    assert [region.name for region in three_regions().regions_by_distance(origin)] == order.split()


def test_a_distance_is_the_same_both_ways_and_none_within_a_region() -> None:
    site = three_regions()
    assert site.round_trip_ms("syd", "fra") == site.round_trip_ms("fra", "syd") == 280
    assert site.round_trip_ms("sgp", "sgp") == 0


def test_a_node_is_found_in_its_region() -> None:
    assert embedded().region_of("fra-2").name == "fra"
    with pytest.raises(KeyError):
        embedded().region_of("fra-3")


def test_a_site_built_in_code_is_checked_as_a_file_is() -> None:
    twice = embedded().regions[:1] * 2
    with pytest.raises(ValidationError, match='the name "sgp" is given twice'):
        Site.model_validate(embedded().model_dump() | {"regions": twice})
