"""What a spec may cost: its depth, its length, and the size of what it builds."""

from typing import Any

import pytest

from learners.spec import InvalidSpec, Task, complete

SCALER = "preprocessing.StandardScaler"
LOGISTIC = "linear_model.LogisticRegression"


def refused(spec: object, task: Task = "binary") -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        complete(spec, task, seed=1)
    return caught.value


def test_depth_is_bounded() -> None:
    spec: Any = LOGISTIC
    for _ in range(20):
        spec = {"imblearn.RandomUnderSampler": {"classifier": spec, "desired_dist": {"true": 1}}}
    assert "16 components deep" in refused(spec).reason
    for _ in range(5_000):
        spec = [spec]
    assert "deep" in refused(spec).reason


def test_components_are_counted() -> None:
    spec = [*[SCALER] * 300, LOGISTIC]
    assert "256 components" in refused(spec).reason


def test_text_is_bounded() -> None:
    assert "65,536 bytes" in refused([{"select": ["a" * 70_000]}, LOGISTIC]).reason
    assert "65,536 bytes" in refused([{"select": ["a"] * 70_000}, LOGISTIC]).reason


def test_what_is_no_unicode_is_refused() -> None:
    assert "Unicode" in refused([{"select": ["\ud800"]}, LOGISTIC]).reason


@pytest.mark.parametrize(
    "spec",
    [
        {"ensemble.BaggingClassifier": {"model": LOGISTIC, "n_models": 1_001}},
        {"ensemble.BaggingClassifier": {"model": "forest.ARFClassifier", "n_models": 101}},
        [{"feature_extraction.PolynomialExtender": {"degree": 900}}, LOGISTIC],
        [{"preprocessing.GaussianRandomProjector": {"n_components": 900_000}}, LOGISTIC],
        [
            {"feature_extraction.BagOfWords": {"on": "a", "ngram_range": [1, 1_000]}},
            LOGISTIC,
        ],
        {
            "ensemble.LeveragingBaggingClassifier": {"model": LOGISTIC, "w": 1e9},
        },
        {
            "multiclass.OutputCodeClassifier": {
                "classifier": LOGISTIC,
                "code_size": 40,
                "coding_method": "exact",
            }
        },
    ],
)
def test_what_would_exhaust_memory_is_refused(spec: Any) -> None:
    assert refused(spec).advice in ("ask for fewer", "lower it")


def test_height_of_random_trees_counts() -> None:
    assert refused({"anomaly.HalfSpaceTrees": {"height": 40}}, "anomaly").place == "learner"
