"""Months of Jakarta, their budgets, figures and verdicts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.errors import BadInput
from siaga.sop.adherence import Adherence
from siaga.sop.limits import Limits, UptimeLimits
from siaga.sop.month import Month
from siaga.uptime import adherence, burn, export
from siaga.uptime.model import Outage, Reclassification, Slice, State, Step
from siaga.uptime.months import MonthFigures, Verdict, budget_ms, figures
from siaga.uptime.outages import listed, track

pytestmark = pytest.mark.clause("ZDT-1")
LIMITS = Limits().uptime
OCTOBER = Month(2026, 10)
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def bad(begin_ms: int, length_ms: int, share_ppm: int = 1_000_000) -> Slice:
    return Slice(begin_ms, begin_ms + length_ms, State.BAD, share_ppm, True, ("sgp",), (Step.BALANCE,), why="w")


def month_with(*spoilt: Slice, month: Month = OCTOBER, now_ms: int | None = None) -> MonthFigures:
    """A month that was good but for these slices."""
    slices, reached_ms = [], month.begin_ms
    for each in spoilt:
        slices += [Slice(reached_ms, each.begin_ms, State.GOOD), each]
        reached_ms = each.end_ms
    slices.append(Slice(reached_ms, month.end_ms, State.GOOD))
    until_ms = month.end_ms if now_ms is None else now_ms
    return figures(month, slices, (), began_ms=0, now_ms=until_ms, limits=LIMITS)


@pytest.mark.parametrize(
    ("month", "budget"), [("2026-02", 241_920), ("2028-02", 250_560), ("2026-11", 259_200), ("2026-10", 262_800)]
)
def test_the_budget_is_the_smaller_of_4_38_minutes_and_a_ten_thousandth_of_the_month(month: str, budget: int) -> None:
    assert budget_ms(Month.parse(month), LIMITS) == budget


def test_a_stricter_site_has_a_smaller_budget() -> None:
    assert budget_ms(OCTOBER, UptimeLimits(downtime_s_max=60)) == 60_000
    assert budget_ms(OCTOBER, UptimeLimits(uptime_percent_min=99.999)) == 26_784
    assert budget_ms(OCTOBER, UptimeLimits(uptime_percent_min=100)) == 0


def test_a_month_begins_at_midnight_in_jakarta_which_is_five_in_the_afternoon_in_utc() -> None:
    assert OCTOBER.begin_ms == datetime(2026, 9, 30, 17, tzinfo=UTC).timestamp() * 1000
    assert OCTOBER.end_ms == datetime(2026, 10, 31, 17, tzinfo=UTC).timestamp() * 1000
    assert Month.holding_ms(OCTOBER.end_ms - 1) == OCTOBER
    assert str(Month.holding_ms(OCTOBER.end_ms)) == "2026-11"
    assert Month(2026, 12).end_ms == Month(2027, 1).begin_ms


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "26-01", "2026-00", "november", "9999-12", "2026-11-01", ""])
def test_what_is_no_month_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadInput, match="month. is"):
        Month.parse(text)


def test_four_minutes_hold_in_a_month_of_31_days_and_four_and_a_half_do_not() -> None:
    at_ms = OCTOBER.begin_ms + DAY_MS
    assert month_with(bad(at_ms, 240_000)).verdict is Verdict.HOLDS
    assert month_with(bad(at_ms, 262_800)).verdict is Verdict.HOLDS
    assert month_with(bad(at_ms, 262_801)).verdict is Verdict.DOES_NOT_HOLD
    assert month_with(bad(at_ms, 270_000)).verdict is Verdict.DOES_NOT_HOLD


def test_an_outage_over_the_boundary_is_parted_in_jakarta() -> None:
    over = bad(OCTOBER.end_ms - 100_000, 400_000)
    after = Month(2026, 11)
    of_october = figures(OCTOBER, (over,), (), began_ms=0, now_ms=after.end_ms, limits=LIMITS)
    of_november = figures(after, (over,), (), began_ms=0, now_ms=after.end_ms, limits=LIMITS)
    assert (of_october.bad_ms, of_november.bad_ms) == (100_000, 300_000)


def test_uptime_has_four_decimals_and_is_never_rounded_up() -> None:
    found = month_with(bad(OCTOBER.begin_ms, 1))
    assert found.uptime_percent == Decimal("99.9999")
    assert month_with().uptime_percent == Decimal("100.0000")
    assert found.to_document()["uptime_percent"] == "99.9999"


def test_the_monitor_away_for_an_hour_is_unknown_and_the_month_not_determined() -> None:
    first = Slice(OCTOBER.begin_ms, OCTOBER.begin_ms + DAY_MS, State.GOOD)
    rest = Slice(first.end_ms + HOUR_MS, OCTOBER.end_ms, State.GOOD)
    found = figures(OCTOBER, (first, rest), (), began_ms=0, now_ms=OCTOBER.end_ms, limits=LIMITS)
    assert (found.verdict, found.unknown_ms) == (Verdict.NOT_DETERMINED, HOUR_MS)
    assert found.uptime_percent == Decimal("100.0000")
    assert found.covered_percent == Decimal("99.8655")


def test_bad_beyond_the_budget_decides_whatever_is_unknown() -> None:
    found = figures(OCTOBER, (bad(OCTOBER.begin_ms, 300_000),), (), began_ms=0, now_ms=OCTOBER.end_ms, limits=LIMITS)
    assert found.verdict is Verdict.DOES_NOT_HOLD


def test_the_running_month_counts_up_to_now() -> None:
    found = month_with(now_ms=OCTOBER.begin_ms + HOUR_MS)
    assert (found.running, found.verdict, found.good_ms) == (True, Verdict.HOLDS, HOUR_MS)
    assert "so far" in found.why


def test_a_month_without_anything_is_not_determined() -> None:
    found = figures(OCTOBER, (), (), began_ms=0, now_ms=OCTOBER.end_ms, limits=LIMITS)
    assert (found.verdict, found.uptime_percent, found.covered_percent) == (
        Verdict.NOT_DETERMINED,
        None,
        Decimal("0.0000"),
    )


@pytest.mark.parametrize("began_ms", [None, OCTOBER.end_ms, OCTOBER.end_ms + DAY_MS])
def test_a_month_before_the_site_existed_says_so(began_ms: int | None) -> None:
    found = figures(OCTOBER, (), (), began_ms=began_ms, now_ms=OCTOBER.end_ms + HOUR_MS, limits=LIMITS)
    assert (found.verdict, found.unknown_ms) == (Verdict.NOT_DETERMINED, 0)
    assert "not served yet" in found.why


def test_the_first_month_counts_from_the_first_service_with_the_whole_budget() -> None:
    began_ms = OCTOBER.end_ms - DAY_MS
    slices = (Slice(began_ms, OCTOBER.end_ms, State.GOOD),)
    found = figures(OCTOBER, slices, (), began_ms=began_ms, now_ms=OCTOBER.end_ms, limits=LIMITS)
    assert (found.verdict, found.unknown_ms, found.good_ms, found.budget_ms) == (Verdict.HOLDS, 0, DAY_MS, 262_800)


def test_the_weighted_figure_stands_beside_the_verdict_and_not_in_it() -> None:
    found = month_with(bad(OCTOBER.begin_ms, 300_000, share_ppm=100_000))
    assert (found.verdict, found.bad_ms, found.weighted_bad_ms) == (Verdict.DOES_NOT_HOLD, 300_000, 30_000)
    assert found.weighted_uptime_percent == Decimal("99.9988")


def test_a_reclassified_stretch_counts_as_said_and_what_was_measured_stays_visible() -> None:
    at_ms = OCTOBER.begin_ms + DAY_MS
    words = (
        Reclassification(at_ms, at_ms + 100_000, State.GOOD, "ana", "load test of ours", 7),
        Reclassification(at_ms, at_ms + 10_000, State.BAD, "ben", "the logs say otherwise", 9),
    )
    slices = (
        Slice(OCTOBER.begin_ms, at_ms, State.GOOD),
        bad(at_ms, 300_000),
        Slice(at_ms + 300_000, OCTOBER.end_ms, State.GOOD),
    )
    found = figures(OCTOBER, slices, words, began_ms=0, now_ms=OCTOBER.end_ms, limits=LIMITS)
    assert (found.bad_ms, found.measured_bad_ms, found.verdict) == (210_000, 300_000, Verdict.HOLDS)
    assert [each["reason"] for each in found.to_document()["reclassifications"]] == [word.reason for word in words]


def test_unknown_time_can_be_said_to_have_been_bad() -> None:
    word = Reclassification(OCTOBER.begin_ms, OCTOBER.end_ms, State.BAD, "ana", "it was off", 7)
    found = figures(OCTOBER, (), (word,), began_ms=0, now_ms=OCTOBER.end_ms, limits=LIMITS)
    assert (found.unknown_ms, found.verdict) == (0, Verdict.DOES_NOT_HOLD)


@given(st.lists(st.tuples(st.integers(0, 31 * 86_400), st.integers(1, 3_600), st.sampled_from(State)), max_size=12))
def test_good_bad_and_unknown_always_add_up_to_the_month(parts: list[tuple[int, int, State]]) -> None:
    slices, reached_ms = [], OCTOBER.begin_ms
    for offset_s, length_s, state in sorted(parts):
        begin_ms = max(reached_ms, OCTOBER.begin_ms + offset_s * 1000)
        slices.append(Slice(begin_ms, begin_ms + length_s * 1000, state))
        reached_ms = slices[-1].end_ms
    found = figures(OCTOBER, slices, (), began_ms=0, now_ms=OCTOBER.end_ms, limits=LIMITS)
    assert found.good_ms + found.bad_ms + found.unknown_ms == OCTOBER.end_ms - OCTOBER.begin_ms
    assert found.bad_ms + found.unknown_ms > found.budget_ms or found.verdict is Verdict.HOLDS


# Burn rates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lasting_ms", "rates"),
    [(5_000, {1.0: False, 14.4: False}), (5_200, {14.4: True}), (13_000, {6.0: True}), (26_000, {1.0: True})],
)
def test_a_full_outage_trips_each_rule_after_its_share_of_the_budget(lasting_ms: int, rates: dict[float, bool]) -> None:
    now_ms = OCTOBER.begin_ms + 10 * DAY_MS
    found = burn.judge({}, (bad(now_ms - lasting_ms, lasting_ms),), now_ms, LIMITS)
    assert {rate: rate in found for rate in rates} == rates


def test_an_alert_ends_when_the_short_window_is_quiet_though_the_long_one_is_not() -> None:
    now_ms = OCTOBER.begin_ms + 10 * DAY_MS
    spoilt = (bad(now_ms - 20_000, 20_000),)
    begun = burn.judge({}, spoilt, now_ms, LIMITS)
    later_ms = now_ms + 6 * MINUTE_MS
    after = burn.judge(begun, spoilt, later_ms, LIMITS)
    assert after[14.4].ended_ms == later_ms
    assert after[14.4].begun_ms == now_ms
    assert 14.4 not in burn.judge(
        {rate: a for rate, a in after.items() if a.ended_ms is None}, spoilt, later_ms, LIMITS
    )


def test_the_rules_for_prometheus_hold_every_burn_rate_and_the_monitors_own_absence() -> None:
    rules = {rule["alert"]: rule for rule in export.alert_rules()["groups"][0]["rules"]}
    assert [rules[f"SiagaBudgetBurn{each}"]["expr"].count(">= ") for each in ("1h", "6h", "3d")] == [2, 2, 2]
    assert rules["SiagaHardDown"]["labels"]["severity"] == "critical"
    assert "for" not in rules["SiagaHardDown"]
    assert rules["SiagaUptimeAbsent"]["expr"].startswith("absent(")


def test_every_metric_of_a_rule_is_one_that_is_shown() -> None:
    shown = {sample.name for sample in export.samples(month_with(), dict.fromkeys(["1h"], 0.0), None)}
    for rule in export.alert_rules()["groups"][0]["rules"]:
        assert any(name in rule["expr"] for name in shown), rule["expr"]


def test_openslo_carries_the_sites_own_target_and_the_zone() -> None:
    spec = export.openslo("pay", UptimeLimits(uptime_percent_min=99.995))["spec"]
    assert spec["objectives"][0]["target"] == 0.99995
    assert spec["timeWindow"][0]["calendar"]["timeZone"] == "Asia/Jakarta"


# Outages ----------------------------------------------------------------------------------------------------


def test_a_flapping_service_is_one_outage_until_it_was_quiet() -> None:
    slices = (bad(0, 1000), Slice(1000, 4000, State.GOOD), bad(4000, 500), Slice(4500, 9000, State.GOOD))
    found = track(None, slices, 0)
    assert found is not None
    assert (found.onset_ms, found.ended_ms, found.bad_until_ms) == (0, None, 4500)
    ended = track(found, (*slices[:3], Slice(4500, 9500, State.GOOD)), 0)
    assert ended is not None
    assert ended.ended_ms == 4500


def test_a_journey_that_hung_moves_the_onset_back_to_its_start_live_and_in_the_months_list() -> None:
    refused = (bad(700, 300), bad(1000, 1000))
    first = track(None, refused, 0)
    hung = (Slice(400, 700, State.BAD, 1_000_000, False, ("fra",)), *refused)
    assert first is not None
    later = track(first, hung, 0)
    assert later is not None
    assert (first.onset_ms, later.onset_ms) == (700, 400)
    assert [each.onset_ms for each in listed(hung)] == [later.onset_ms]


def test_a_blip_before_an_outage_is_no_part_of_it() -> None:
    blip = Slice(0, 100, State.BAD, 1_000_000, False, ("fra",))
    slices = (blip, Slice(100, 9_000, State.GOOD), bad(9_000, 1_000))
    first = track(None, slices, 0)
    found = track(first, slices, 0)
    assert found is not None
    assert found == first
    assert (found.onset_ms, found.regions) == (9_000, ("sgp",))


def test_unmeasured_time_ends_no_outage() -> None:
    found = track(None, (bad(0, 1000), Slice(1000, 60_000, State.UNKNOWN)), 0)
    assert found is not None
    assert found.ended_ms is None


def test_a_blip_is_an_outage_but_not_hard_down() -> None:
    short = track(None, (bad(0, 1999),), 0)
    long = track(None, (bad(0, 1000), bad(1000, 1000, share_ppm=5)), 0)
    single = track(None, (Slice(0, 3000, State.BAD, 1_000_000, confirmed=False),), 0)
    assert [each is not None and each.hard_down for each in (short, long, single)] == [False, True, False]


def test_what_was_told_before_is_not_told_again() -> None:
    assert track(None, (bad(0, 1000), Slice(1000, 2000, State.GOOD)), since_ms=1000) is None


def test_outages_of_the_past_are_listed_with_their_worst_share() -> None:
    found = listed((bad(0, 1000, 10), bad(1000, 1000, 30), Slice(2000, 90_000, State.GOOD), bad(90_000, 10)))
    assert [(each.onset_ms, each.ended_ms, each.share_ppm, each.hard_down) for each in found] == [
        (0, 2000, 30, True),
        (90_000, 90_010, 1_000_000, False),
    ]


# Standing ---------------------------------------------------------------------------------------------------

GOING_ON = Outage(0, None, True, ("sgp",), 1_000_000, (), "balance: answered 503", 1)


@pytest.mark.parametrize(
    ("found", "outage", "trouble", "expected"),
    [
        (None, None, "", Adherence.NOT_MEASURED),
        (month_with(), None, "", Adherence.HOLDS),
        (month_with(), GOING_ON, "", Adherence.AT_RISK),
        (month_with(), None, "disk full", Adherence.AT_RISK),
        (month_with(bad(OCTOBER.begin_ms, 140_000)), None, "", Adherence.AT_RISK),
        (month_with(bad(OCTOBER.begin_ms, 300_000)), GOING_ON, "", Adherence.BROKEN),
        (
            month_with(Slice(OCTOBER.begin_ms, OCTOBER.begin_ms + HOUR_MS, State.UNKNOWN)),
            None,
            "",
            Adherence.NOT_MEASURED,
        ),
    ],
)
def test_the_clause_stands_as_the_month_does(
    found: MonthFigures | None, outage: Outage | None, trouble: str, expected: Adherence
) -> None:
    standing = adherence.standing(found, outage, trouble)
    assert standing.adherence is expected
    if found is not None:
        assert standing.observed_at == datetime.fromtimestamp(found.end_ms / 1000, UTC)
        assert standing.observed_at.utcoffset() == timedelta(0)
