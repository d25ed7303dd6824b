"""What a spec costs, estimated before it is run: nothing accepted is busy for long."""

from typing import Any

import pytest

from learners.cost import BUDGET, USUAL_FEATURES, cost, widest
from learners.spec import InvalidSpec, Task, complete

SCALER = "preprocessing.StandardScaler"


@pytest.mark.parametrize(
    ("spec", "task"),
    [
        ([{"product": [SCALER] * 40}, "linear_model.LinearRegression"], "regression"),
        ([{"product": [{"union": [SCALER] * 3}] * 7}, "linear_model.PARegressor"], "regression"),
        ({"facto.HOFMClassifier": {"n_factors": 100_000}}, "binary"),
        ({"forest.ARFClassifier": {"n_models": 1_000, "lambda_value": 100}}, "binary"),
        (
            {
                "ensemble.LeveragingBaggingClassifier": {
                    "model": "tree.HoeffdingTreeClassifier",
                    "n_models": 1_000,
                    "w": 100,
                }
            },
            "binary",
        ),
        (
            [
                {"feature_extraction.PolynomialExtender": {"degree": 12}},
                {"feature_extraction.PolynomialExtender": {"degree": 4}},
                "linear_model.LinearRegression",
            ],
            "regression",
        ),
    ],
)
def test_a_spec_that_would_keep_the_process_busy_is_refused(spec: Any, task: Task) -> None:
    with pytest.raises(InvalidSpec) as refused:
        complete(spec, task, seed=1)
    assert refused.value.place.startswith("learner")


@pytest.mark.parametrize(
    ("spec", "task", "least"),
    [
        ([SCALER, "linear_model.LogisticRegression"], "binary", 9_999),
        ("naive_bayes.GaussianNB", "multiclass", 9_999),
        ("tree.HoeffdingTreeClassifier", "binary", 9_999),
        ("forest.ARFClassifier", "binary", 1_000),
        ("neighbors.KNNClassifier", "binary", 1_000),
        ("facto.FMRegressor", "regression", 300),
    ],
)
def test_ordinary_learners_take_many_features(spec: Any, task: Task, least: int) -> None:
    assert widest(complete(spec, task, seed=1))[0] >= least


@pytest.mark.parametrize(
    ("spec", "task", "most"),
    [
        ("facto.FMRegressor", "regression", 1_500),
        ("facto.HOFMRegressor", "regression", 200),
        (
            ["feature_extraction.PolynomialExtender", "linear_model.LinearRegression"],
            "regression",
            1_500,
        ),
    ],
)
def test_learners_that_multiply_features_take_few(spec: Any, task: Task, most: int) -> None:
    assert USUAL_FEATURES < widest(complete(spec, task, seed=1))[0] <= most


def test_costs_never_fall_with_the_features() -> None:
    spec = complete([SCALER, {"facto.HOFMRegressor": {"degree": 4}}], "regression", seed=1)
    costs = [cost(spec, n, 0) for n in range(1, 200)]
    assert costs == sorted(costs)
    limit = widest(spec)[0]
    assert cost(spec, limit, 0) <= BUDGET < cost(spec, limit + 1, 0)
