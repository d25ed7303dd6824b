"""What entries say of labels and answers: counts, the prior, delays."""

from collections.abc import Iterable

import pytest

from app.entries import Example, Label, Served, Task
from app.monitoring import WINDOW, Monitor


def monitor_of(task: Task, labels: Iterable[Label | None]) -> Monitor:
    """A monitor of examples with these labels, none of them served."""
    monitor = Monitor(task)
    for at, label in enumerate(labels):
        monitor.observe(Example({}, label), at)
    return monitor


def served(at_seconds: float, prediction: Label | None = True, fallback: bool = False) -> Served:
    """What was answered at an instant."""
    return Served(prediction, int(at_seconds * 1e6), fallback=fallback)


def test_nothing_is_likely_before_the_first_label() -> None:
    assert Monitor("binary").prior() == (None, None)
    assert Monitor("regression").prior() == (None, None)


def test_the_prior_is_the_most_frequent_label_with_the_shares_of_all() -> None:
    prediction, shares = monitor_of("multiclass", ["a", "b", "b", "c"]).prior()
    assert prediction == "b"
    assert shares == [("a", 0.25), ("b", 0.5), ("c", 0.25)]


@pytest.mark.parametrize("first", [False, True])
def test_of_labels_as_frequent_the_first_seen_is_the_prior(first: bool) -> None:
    assert monitor_of("binary", [first, not first]).prior()[0] is first


def test_false_zero_and_the_empty_string_are_labels_like_any_other() -> None:
    assert monitor_of("binary", [False]).prior() == (False, [(False, 1.0)])
    assert monitor_of("multiclass", [0]).prior() == (0, [(0, 1.0)])
    assert monitor_of("multiclass", [""]).prior() == ("", [("", 1.0)])
    assert monitor_of("regression", [0]).prior() == (0.0, None)


def test_the_prior_of_a_regression_is_the_mean() -> None:
    assert monitor_of("regression", [1, 2.0, 6]).prior() == (3.0, None)


def test_the_mean_of_the_largest_labels_stays_finite() -> None:
    largest = monitor_of("regression", [1e300, -1e300, 10**300, -(10**300)] * 5)
    prediction, _ = largest.prior()
    assert isinstance(prediction, float)
    assert abs(prediction) <= 1e300


def test_an_anomaly_without_a_label_is_an_example_and_makes_no_label_likely() -> None:
    monitor = monitor_of("anomaly", [None, None, True])
    assert (monitor.examples, monitor.prior()) == (3, (True, [(True, 1.0)]))


def test_labels_of_predictions_are_counted_with_how_they_were_answered() -> None:
    monitor = Monitor("binary")
    monitor.observe(Example({}, True), 0)
    monitor.observe(Example({}, True, served(0)), 1)
    monitor.observe(Example({}, True, served(0, None)), 1)
    monitor.observe(Example({}, True, served(0, False, fallback=True)), 1)
    assert (monitor.examples, monitor.labelled) == (4, 3)
    assert (monitor.unanswered, monitor.fallbacks, monitor.unlearnable) == (1, 1, 0)


def test_there_are_no_delays_before_the_first_label_of_a_prediction() -> None:
    assert monitor_of("binary", [True]).delay_seconds() is None


def test_one_delay_is_every_percentile() -> None:
    monitor = Monitor("binary")
    monitor.observe(Example({}, True, served(1)), 4_500_000)
    assert monitor.delay_seconds() == {"p50": 3.5, "p90": 3.5, "p99": 3.5, "max": 3.5}


def test_delays_are_told_as_percentiles_and_the_latest() -> None:
    monitor = Monitor("binary")
    for seconds in range(101):
        monitor.observe(Example({}, True, served(0)), seconds * 1_000_000)
    assert monitor.delay_seconds() == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}


def test_delays_are_told_of_the_newest_labels_only() -> None:
    monitor = Monitor("binary")
    monitor.observe(Example({}, True, served(0)), 9_000_000)
    for _ in range(WINDOW):
        monitor.observe(Example({}, True, served(0)), 1_000_000)
    assert monitor.delay_seconds() == {"p50": 1.0, "p90": 1.0, "p99": 1.0, "max": 1.0}


def test_a_clock_that_was_set_back_makes_a_negative_delay_and_no_error() -> None:
    monitor = Monitor("binary")
    monitor.observe(Example({}, True, served(2)), 1_000_000)
    delays = monitor.delay_seconds()
    assert delays is not None
    assert delays["max"] == -1.0
