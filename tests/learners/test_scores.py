"""Which metrics a learner may be scored by, and how they are stored."""

from typing import Any

import pytest

from learners.spec import InvalidSpec, Task, build, build_metric, complete, complete_metrics

SPECS: dict[Task, str] = {
    "binary": "linear_model.LogisticRegression",
    "multiclass": "naive_bayes.GaussianNB",
    "regression": "linear_model.LinearRegression",
    "anomaly": "anomaly.HalfSpaceTrees",
}
WITHOUT_PROBABILITIES = {
    "ensemble.VotingClassifier": {"models": ["naive_bayes.GaussianNB", "naive_bayes.GaussianNB"]}
}


def metrics_of(given: object, task: Task, spec: Any = None) -> list[Any]:
    return complete_metrics(given, task, build(complete(spec or SPECS[task], task, seed=1)))


def names_of(stored: list[Any]) -> list[str]:
    return [next(iter(spec)).removeprefix("metrics.") for spec in stored]


def refused(given: object, task: Task = "binary", spec: Any = None) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        metrics_of(given, task, spec)
    return caught.value


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("binary", ["Accuracy", "F1", "LogLoss", "ROCAUC"]),
        ("multiclass", ["Accuracy", "MacroF1", "CrossEntropy"]),
        ("regression", ["MAE", "RMSE", "R2"]),
        ("anomaly", ["ROCAUC"]),
    ],
)
def test_each_task_has_metrics_of_its_own(task: Task, names: list[str]) -> None:
    assert names_of(metrics_of(None, task)) == names


def test_without_probabilities_the_defaults_want_none() -> None:
    assert names_of(metrics_of(None, "binary", WITHOUT_PROBABILITIES)) == ["Accuracy", "F1"]
    assert names_of(metrics_of(None, "multiclass", WITHOUT_PROBABILITIES)) == [
        "Accuracy",
        "MacroF1",
    ]


def test_names_are_qualified_and_parameters_written_out() -> None:
    stored = metrics_of(["Accuracy", "metrics.MCC", {"FBeta": {"beta": 2}}], "binary")
    assert stored == [
        {"metrics.Accuracy": {}},
        {"metrics.MCC": {"pos_val": True}},
        {"metrics.FBeta": {"beta": 2, "pos_val": True}},
    ]
    assert metrics_of(stored, "binary") == stored


def test_stored_metric_is_built_without_experience() -> None:
    metric: Any = build_metric({"metrics.ROCAUC": {"n_thresholds": 20, "pos_val": True}})
    assert metric.n_thresholds == 20
    assert build_metric("metrics.MAE").get() == 0.0


def test_no_metrics_are_none() -> None:
    assert metrics_of([], "binary") == []


@pytest.mark.parametrize(
    ("given", "task", "place"),
    [
        (["Accuracy", "Acuracy"], "binary", "metrics[1]"),
        (["MAE"], "binary", "metrics[0]"),
        (["F1"], "multiclass", "metrics[0]"),
        (["Accuracy"], "regression", "metrics[0]"),
        (["Accuracy"], "anomaly", "metrics[0]"),
        (["ConfusionMatrix"], "binary", "metrics[0]"),
        (["ClassificationReport"], "binary", "metrics[0]"),
        (["Silhouette"], "binary", "metrics[0]"),
        (["Accuracy", "metrics.Accuracy"], "binary", "metrics[1]"),
        (["linear_model.LogisticRegression"], "binary", "metrics[0]"),
        ([{"FBeta": {}}], "binary", "metrics[0].beta"),
        ([{"FBeta": {"beta": "2"}}], "binary", "metrics[0].beta"),
        ([{"Accuracy": {"cm": 1}}], "binary", "metrics[0].cm"),
        ([None], "binary", "metrics[0]"),
        ("Accuracy", "binary", "metrics"),
        ({"Accuracy": {}}, "binary", "metrics"),
        ([{"FBeta": {"beta": n}} for n in range(21)], "binary", "metrics"),
    ],
)
def test_metric_that_does_not_fit_is_refused_where_it_is(
    given: Any, task: Task, place: str
) -> None:
    assert refused(given, task).place == place


def test_unknown_metric_is_refused_with_the_nearest() -> None:
    assert refused(["Acuracy"]).nearest[0] == "metrics.Accuracy"


def test_probabilities_cannot_be_scored_where_there_are_none() -> None:
    assert "probabilities" in refused(["LogLoss"], "binary", WITHOUT_PROBABILITIES).reason
