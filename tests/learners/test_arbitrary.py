"""Whatever JSON is given, a spec is completed or refused: no other exception, no other outcome."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.parameters import parameters_of
from learners.refused import NAMEABLE, REFUSED
from learners.spec import InvalidSpec, Task, build, complete, complete_metrics

TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression", "anomaly")

names = st.sampled_from([*NAMEABLE, *REFUSED])
keys = st.sampled_from(sorted({key for name in NAMEABLE for key in parameters_of(name)}))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | names
    | st.integers(-3, 3)
    | st.sampled_from([10**18, 10**400, "select", "union", 1e308])
)
forms = st.sampled_from(["select", "discard", "union", "product", "type", "prefix"])
arbitrary = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | names | keys | forms, inner, max_size=3)
    ),
    max_leaves=12,
)


@st.composite
def plausible(draw: st.DrawFn, depth: int = 3) -> Any:
    """A component with parameters of its own that are given something."""
    name = draw(st.sampled_from(sorted(NAMEABLE)))
    parameters = parameters_of(name)
    if not parameters:
        return name
    chosen = draw(st.lists(st.sampled_from(list(parameters)), max_size=3, unique=True))
    required = [key for key, parameter in parameters.items() if parameter.is_required]
    inner = plausible(depth - 1) if depth else st.nothing()
    return {name: {key: draw(scalars | inner) for key in {*chosen, *required}}}


def complete_or_refuse(spec: Any, task: Task) -> None:
    try:
        stored = complete(spec, task, seed=1)
    except InvalidSpec as error:
        assert str(error).endswith(".")
        assert error.place.startswith("learner")
        return
    assert complete(stored, task, seed=2) == stored
    build(stored)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=250, deadline=None)
@given(arbitrary, st.sampled_from(TASKS))
def test_arbitrary_json_is_completed_or_refused(spec: Any, task: Task) -> None:
    complete_or_refuse(spec, task)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=250, deadline=None)
@given(st.lists(plausible(), max_size=2) | plausible(), st.sampled_from(TASKS))
def test_plausible_components_are_completed_or_refused(spec: Any, task: Task) -> None:
    complete_or_refuse(spec, task)


@settings(max_examples=100, deadline=None)
@given(arbitrary | st.lists(names | arbitrary, max_size=3), st.sampled_from(TASKS))
def test_arbitrary_metrics_are_completed_or_refused(metrics: Any, task: Task) -> None:
    learner = build(complete("naive_bayes.GaussianNB", "binary", seed=1))
    try:
        complete_metrics(metrics, task, learner)
    except InvalidSpec as error:
        assert error.place.startswith("metrics")
