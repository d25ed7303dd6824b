"""Metrics whose labels are corrected must equal River's, reverted or fed the corrected labels."""

import math
import random
from typing import Any

import pytest
from river import linear_model, metrics

from learners.scoring import WINDOW, Answer, Scoreboard
from learners.spec import InvalidSpec, Task, build_metric, complete_metrics
from tests.learners.test_scoring import EDGES, LABELS, scored_by

TASKS: list[Task] = ["binary", "multiclass", "regression", "anomaly"]


def specs_of(task: Task) -> list[Any]:
    """Every metric that a learner of the task may be scored by, in its stored form."""
    if task in LABELS:
        return scored_by(task)
    if task == "anomaly":
        return complete_metrics(["ROCAUC"], task, None)
    found: list[Any] = []
    for name in metrics.__all__:
        try:
            found += complete_metrics([name], task, linear_model.LinearRegression())
        except InvalidSpec:
            continue
    return found


def drawn(task: Task, chance: random.Random) -> tuple[Any, Answer]:
    """A label, and an answer to what it is the label of."""
    if task == "regression":
        return chance.uniform(0, 6), Answer(chance.uniform(0, 6))
    if task == "anomaly":
        score = chance.choice([chance.random(), *EDGES])
        return chance.random() < 0.3, Answer(score, None, score)
    shares = {label: chance.choice([chance.random(), *EDGES]) for label in LABELS[task]}
    return chance.choice(LABELS[task]), Answer(max(shares, key=shares.__getitem__), shares)


def fed(metric: Any, y: Any, answer: Answer) -> tuple[Any, Any]:
    """What River's metric is fed with."""
    wants_shares = answer.probabilities is not None and not getattr(metric, "requires_labels", True)
    return y, answer.probabilities if wants_shares else answer.prediction


def equal(figure: float | None, value: float, exactly: bool) -> bool:
    """Whether a figure is the value of River's metric; None where that is not finite."""
    if figure is None or not math.isfinite(value):
        return figure is None and not math.isfinite(value)
    return figure == value or (
        not exactly and math.isclose(figure, value, rel_tol=1e-9, abs_tol=1e-7)
    )


@pytest.mark.parametrize("count", [1, 2, 50, 1_500])
@pytest.mark.parametrize("task", TASKS)
def test_corrected_figures_equal_rivers_metrics_that_revert(task: Task, count: int) -> None:
    specs = specs_of(task)
    assert len(specs) > (0 if task == "anomaly" else 6)
    chance = random.Random(count)
    board, rivers = Scoreboard(specs), [build_metric(spec) for spec in specs]
    standing: list[tuple[Any, Answer]] = []
    for number in range(count):
        y, answer = drawn(task, chance)
        board.update(y, answer, number)
        standing.append((y, answer))
        for metric in rivers:
            metric.update(*fed(metric, y, answer))
        for _ in range(chance.randint(0, 2)):
            chosen = chance.randrange(len(standing))
            (old, answer), (new, _) = standing[chosen], drawn(task, chance)
            board.correct(old, new, answer, chosen)
            standing[chosen] = new, answer
            for metric in rivers:
                metric.update(*fed(metric, new, answer))
                metric.revert(*fed(metric, old, answer))
        if chance.random() < 0.1:
            board.figures()
    figures, recent = board.figures(), board.recent_figures()
    assert board.scored == count
    for metric, spec in zip(rivers, specs, strict=True):
        name = type(metric).__name__
        # A sum over classes depends on their order in a set.
        is_exact = not name.endswith("MutualInfo")
        root = metric.get().real if isinstance(metric.get(), complex) else metric.get()
        # River's own RMSLE takes back other than it counted.
        if name != "RMSLE":
            assert equal(figures[name], float(root) + 0.0, exactly=is_exact), name
        anew, newest = build_metric(spec), build_metric(spec)
        for i, (y, answer) in enumerate(standing):
            anew.update(*fed(anew, y, answer))
            if i >= count - WINDOW:
                newest.update(*fed(newest, y, answer))
        assert equal(recent[name], float(newest.get()) + 0.0, exactly=is_exact), name
        # River's rolling metrics move what is corrected to the end of their window.
        if not name.startswith("Rolling"):
            assert equal(figures[name], float(anew.get()) + 0.0, exactly=False), name


@pytest.mark.parametrize("task", TASKS)
def test_a_correction_of_the_only_answer_leaves_its_corrected_label_alone(task: Task) -> None:
    specs = specs_of(task)
    chance = random.Random(7)
    (first, answer), (second, _) = drawn(task, chance), drawn(task, chance)
    corrected, plain = Scoreboard(specs), Scoreboard(specs)
    corrected.update(first, answer, 5)
    corrected.correct(first, second, answer, 5)
    plain.update(second, answer, 5)
    for name, figure in plain.figures().items():
        value = corrected.figures()[name]
        assert value == figure or equal(value, figure or math.nan, exactly=False), name
    assert corrected.recent_figures() == plain.recent_figures()


def test_a_label_that_is_taken_back_leaves_no_score() -> None:
    board = Scoreboard(specs_of("anomaly"))
    answer = Answer(0.75, None, 0.75)
    board.update(True, answer, 3)
    board.correct(True, None, answer, 3)
    assert (board.scored, board.figures(), board.recent_figures()) == (
        0,
        {"ROCAUC": None},
        {"ROCAUC": None},
    )
    board.correct(None, False, answer, 3)
    assert board.scored == 1
    assert board.recent_figures() == board.figures()


def test_a_correction_beyond_the_newest_leaves_the_recent_figures() -> None:
    board = Scoreboard(specs_of("binary")[:1])
    for number in range(WINDOW + 1):
        board.update(True, Answer(True), number)
    before = board.recent_figures()
    board.correct(True, False, Answer(True), 0)
    assert board.recent_figures() == before
    assert board.figures() != before


def test_a_figure_that_corrections_bring_to_nought_is_a_number() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        board = Scoreboard(complete_metrics(["RMSE", "R2"], "regression", None))
        answers = [Answer(chance.uniform(0, 6)) for _ in range(3)]
        for number, answer in enumerate(answers):
            board.update(chance.uniform(0, 6), answer, number)
        for number, (y, answer) in enumerate(
            zip([y for _, y, _ in board._recent], answers, strict=True)
        ):
            board.correct(y, answer.prediction, answer, number)
        figure = board.figures()["RMSE"]
        assert figure is not None and 0 <= figure < 1e-6


def test_a_label_far_off_leaves_no_trace_in_the_recent_figures_once_it_is_corrected() -> None:
    """Those since the start keep its rounding: see decision 0013."""
    specs = complete_metrics(["MAE", "RMSE", "R2"], "regression", None)
    corrected, plain = Scoreboard(specs), Scoreboard(specs)
    chance = random.Random(1)
    for number in range(200):
        y = chance.uniform(5, 15)
        answer = Answer(y + chance.gauss(0, 0.5))
        plain.update(y, answer, number)
        corrected.update(1e9 if number == 50 else y, answer, number)
        if number == 50:
            right = y, answer
    corrected.correct(1e9, *right, 50)
    assert corrected.recent_figures() == plain.recent_figures()
