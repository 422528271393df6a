"""Which level a fact is, and that no route ever makes a Level 3 of little urgency."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.incidents.levels import level_of
from siaga.incidents.model import Fact, FactKind, Level
from siaga.incidents.notify.routes import SEVERITIES, severity
from siaga.site.notifications import RouteKind

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
# Each route's own scale as its maker orders it, the worst first.
SCALES = {
    RouteKind.PAGERDUTY: ("critical", "error", "warning", "info"),
    RouteKind.APPRISE: ("failure", "warning", "info"),
}


def a(kind: FactKind, share: float | None = None, level: Level | None = None) -> Fact:
    return Fact("key", kind, NOW, True, "words", share=share, level=level)


@pytest.mark.clause("ZDT-1")
@pytest.mark.parametrize("share", [None, 0.0, 0.0001, 1.0])
def test_a_user_visible_outage_is_level_3_whatever_its_share(share: float | None) -> None:
    assert level_of(a(FactKind.OUTAGE, share))[0] is Level.CRITICAL


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (FactKind.INTEGRITY, Level.CRITICAL),
        (FactKind.KEY_COMPROMISED, Level.CRITICAL),
        (FactKind.REDUNDANCY, Level.MAJOR),
        (FactKind.CLAUSE_AT_RISK, Level.MAJOR),
        (FactKind.BURN, Level.MAJOR),
        (FactKind.DEGRADATION, Level.MINOR),
        (FactKind.ALERT, Level.MAJOR),
    ],
)
def test_every_kind_has_its_level(kind: FactKind, level: Level) -> None:
    assert level_of(a(kind))[0] is level


@given(st.sampled_from(FactKind), st.floats(0.0001, 1.0))
def test_what_users_notice_is_level_3_of_every_kind(kind: FactKind, share: float) -> None:
    assert level_of(a(kind, share))[0] is Level.CRITICAL


@given(st.sampled_from([kind for kind in FactKind if kind is not FactKind.ALERT]), st.sampled_from(Level))
def test_a_sender_raises_a_level_and_never_lowers_one(kind: FactKind, asked: Level) -> None:
    assert level_of(a(kind, level=asked))[0] >= level_of(a(kind))[0]


def test_a_level_is_shown_as_number_and_word() -> None:
    assert [level.label for level in Level] == ["Level 1 · Minor", "Level 2 · Major", "Level 3 · Critical"]


@given(st.sampled_from(RouteKind), st.sampled_from(Level), st.sampled_from(Level))
def test_a_worse_level_is_more_urgent_on_every_route(kind: RouteKind, one: Level, other: Level) -> None:
    urgency = {word: -place for place, word in enumerate(SCALES[kind])}
    assert (one > other) == (urgency[severity(kind, one)] > urgency[severity(kind, other)])


@pytest.mark.parametrize("kind", RouteKind)
def test_level_3_is_the_most_urgent_word_that_a_route_has(kind: RouteKind) -> None:
    assert severity(kind, Level.CRITICAL) == SCALES[kind][0]
    assert set(SEVERITIES[kind]) == set(Level)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Fact("key", FactKind.ALERT, datetime(2026, 1, 1), True, "words")
