"""What is measured of the time, by a clock that only moves when a call says so."""

import random
from collections.abc import Iterator, Sequence

import pytest

from {{ cookiecutter.package_name }}.pipeline_core import (
    clocks,
)
from {{ cookiecutter.package_name }}.pipeline_core.clocks import (
    ServiceTimes,
    Waits,
    histogram,
    quantile,
)


class Clock:
    """Seconds since the start; `asked` counts how often somebody looked."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(clocks, "perf_counter", clock)
    monkeypatch.setattr(clocks, "_random", random.Random(7).random)
    return clock


def measure(clock: Clock, seconds: Sequence[float], calls: int) -> ServiceTimes:
    """So many calls that take those seconds in turn, of which half is CPU time."""
    times = ServiceTimes(lambda: clock.now / 2)
    for number in range(calls):
        times.call(clock.passes, seconds[number % len(seconds)])
    return times


@pytest.mark.parametrize(
    "seconds",
    [(1e-6,), (2e-6, 2e-5), (1e-6, 1e-6, 1e-6, 1e-3), (5e-4,), (1e-5,) * 99 + (1e-2,)],
    ids=["quick", "by turns", "one of 4 is slow", "slow", "one of 100 is slow"],
)
def test_what_is_measured_of_some_calls_holds_for_all(clock: Clock, seconds: tuple[float, ...]) -> None:
    times = measure(clock, seconds, calls=200_000)
    assert times.seconds == pytest.approx(clock.now, rel=0.2)
    assert times.cpu_seconds == pytest.approx(times.seconds / 2)
    found = histogram([times])
    assert sum(number for _, number in found) == pytest.approx(200_000, rel=0.1)
    slow = sum(number for each, number in found if each > 0.9 * max(seconds))
    assert slow == pytest.approx(200_000 * seconds.count(max(seconds)) / len(seconds), rel=0.2)


def test_quick_calls_are_measured_seldom_and_slow_ones_always(clock: Clock) -> None:
    measure(clock, (1e-7,), calls=100_000)
    assert 1 < clock.asked / (2 * 100_000 / 256) < 1.5, "more often only until it is known how long they take"
    clock.asked = 0
    measure(clock, (1e-3,), calls=1_000)
    assert clock.asked >= 2 * 995, "all but some of the first"


def test_a_quantile_is_right_within_5_percent(clock: Clock) -> None:
    chance = random.Random(3)
    seconds = sorted(1e-3 * 1000 ** chance.random() for _ in range(1000))
    found = histogram([measure(clock, seconds, calls=1000)])
    assert sum(number for _, number in found) == 1000
    for share in (0.01, 0.5, 0.95, 0.99, 1.0):
        assert quantile(found, share) == pytest.approx(seconds[round(share * 1000) - 1], rel=0.05)
    assert [quantile(((1.0, 1), (2.0, 1)), share) for share in (0.5, 0.51, 1.0)] == [1.0, 2.0, 2.0]
    assert quantile((), 0.5) == 0


def test_a_batch_counts_as_its_items(clock: Clock) -> None:
    times = ServiceTimes()
    times.call(clock.passes, 0.08, items=4)
    ((seconds, number),) = histogram([times])
    assert (seconds, number) == (pytest.approx(0.02, rel=0.05), 4)
    assert times.seconds == 0.08


def test_a_call_that_raises_is_measured_and_a_generator_that_is_only_made_is_not(clock: Clock) -> None:
    def fails() -> None:
        clock.passes(0.01)
        raise ValueError("no")

    def numbers() -> Iterator[int]:
        yield 1

    times = ServiceTimes()
    with pytest.raises(ValueError, match="no"):
        times.call(fails)
    assert times.seconds == 0.01
    list(times.call(numbers))
    assert sum(times.buckets.values()) == 1


def test_a_thread_is_present_until_it_has_ended(clock: Clock) -> None:
    clock.passes(1)
    times = ServiceTimes()
    clock.passes(2)
    assert times.present(clock.now) == 2
    times.end()
    clock.passes(4)
    assert times.present(clock.now) == 2


def test_waits_that_are_over_and_those_that_go_on_add_up(clock: Clock) -> None:
    waits = Waits()
    clock.passes(0.5)
    first = waits.begin()
    clock.passes(1)
    second = waits.begin()
    clock.passes(2)
    assert (waits.now, waits.seconds()) == (2, 5)
    waits.end(first)
    clock.passes(4)
    assert (waits.now, waits.seconds()) == (1, 9)
    waits.end(second)
    clock.passes(8)
    assert (waits.now, waits.seconds()) == (0, 9)
