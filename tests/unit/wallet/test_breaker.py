"""The breaker remembers an outage and lets few requests find out that it is over."""

from __future__ import annotations

from wallet.breaker import Breaker


def opened(now_s: float) -> Breaker:
    breaker = Breaker()
    for _ in range(3):
        breaker.miss(now_s)
    return breaker


def test_two_misses_are_no_outage() -> None:
    breaker = Breaker()
    breaker.miss(0.0)
    breaker.miss(0.0)
    assert breaker.admits(0.0)
    breaker.hit()
    breaker.miss(0.0)
    assert not breaker.is_open


def test_while_open_one_trial_an_interval_is_admitted_and_the_interval_doubles_to_a_second() -> None:
    breaker = opened(0.0)
    admitted: list[float] = []
    for tick in range(400):
        now_s = tick / 100
        if breaker.admits(now_s):
            admitted.append(now_s)
            breaker.miss(now_s)
    assert admitted == [0.2, 0.4, 0.8, 1.6, 2.6, 3.6]


def test_one_answer_closes_it_and_forgets_the_past() -> None:
    breaker = opened(0.0)
    assert breaker.admits(0.3)
    breaker.hit()
    assert all(breaker.admits(0.3) for _ in range(10))
    again = opened(0.0)
    assert not again.admits(0.1)
    assert again.admits(0.21)
