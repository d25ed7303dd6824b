"""The grammar of a spec, its stored form, and every way in which one is refused."""

import json
import math
from typing import Any

import pytest
from river import compose, linear_model, preprocessing

from learners.refused import REFUSED
from learners.spec import (
    InvalidSpec,
    Task,
    build,
    complete,
    gives_probabilities,
    keeps_null,
)

SCALER = "preprocessing.StandardScaler"
LOGISTIC = "linear_model.LogisticRegression"
LINEAR = "linear_model.LinearRegression"


def refused(spec: object, task: Task = "binary") -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        complete(spec, task, seed=1)
    return caught.value


def test_name_is_completed_with_every_default() -> None:
    assert complete("naive_bayes.MultinomialNB", "binary", seed=1) == {
        "naive_bayes.MultinomialNB": {"alpha": 1.0}
    }


def test_nested_defaults_are_written_out() -> None:
    [stored] = complete(LOGISTIC, "binary", seed=1).values()
    assert stored["optimizer"] == {"optim.SGD": {"lr": 0.01}}
    assert stored["loss"] == {"optim.losses.Log": {"weight_pos": 1.0, "weight_neg": 1.0}}


def test_pipeline_is_stored_and_built_in_order() -> None:
    stored = complete([SCALER, LOGISTIC], "binary", seed=1)
    learner = build(stored)
    assert isinstance(stored, list)
    assert isinstance(learner, compose.Pipeline)
    assert list(learner.steps) == ["StandardScaler", "LogisticRegression"]


def test_pipeline_in_a_pipeline_is_the_longer_pipeline() -> None:
    nested = complete([[SCALER, SCALER], [LOGISTIC]], "binary", seed=1)
    assert nested == complete([SCALER, SCALER, LOGISTIC], "binary", seed=1)


def test_pipeline_may_be_a_parameter() -> None:
    spec = {"ensemble.BaggingClassifier": {"model": [SCALER, LOGISTIC], "n_models": 2}}
    [stored] = complete(spec, "binary", seed=1).values()
    assert [next(iter(step)) for step in stored["model"]] == [SCALER, LOGISTIC]


def test_lists_of_estimators_are_built() -> None:
    spec = {"ensemble.VotingClassifier": {"models": [LOGISTIC, "naive_bayes.GaussianNB"]}}
    learner: Any = build(complete(spec, "binary", seed=1))
    assert [type(model).__name__ for model in learner] == ["LogisticRegression", "GaussianNB"]


def test_branches_are_joined() -> None:
    union = {"union": [[{"select": ["a"]}, SCALER], {"select": {"prefix": "b"}}]}
    learner: Any = build(complete([union, LINEAR], "regression", seed=1))
    assert list(learner["TransformerUnion"].transform_one({"b2": 2, "a": 1, "c": 3})) == ["b2", "a"]


def test_products_are_joined() -> None:
    product = {"product": [{"select": ["a"]}, {"select": ["b"]}]}
    learner: Any = build(complete([product, LINEAR], "regression", seed=1))
    assert learner["TransformerProduct"].transform_one({"a": 2, "b": 3}) == {"a*b": 6}


@pytest.mark.parametrize(
    ("form", "kept"),
    [
        ({"select": ["d", "a", "missing"]}, ["a", "d"]),
        ({"discard": ["a"]}, ["b", "c", "d"]),
        ({"select": {"type": "number"}}, ["a", "d"]),
        ({"select": {"type": "boolean"}}, ["b"]),
        ({"select": {"type": ["category", "boolean"]}}, ["b", "c"]),
        ({"select": {"type": "text"}}, ["c"]),
        ({"discard": {"type": "number"}}, ["b", "c"]),
        ({"select": {"prefix": ["a", "c"]}}, ["a", "c"]),
    ],
)
def test_selections_keep_the_order_of_the_observation(form: Any, kept: list[str]) -> None:
    stored = complete([form, "naive_bayes.BernoulliNB"], "binary", seed=1)
    learner: Any = build(stored)
    step = next(iter(learner.steps.values()))
    assert list(step.transform_one({"a": 1, "b": True, "c": "x", "d": 2.5})) == kept


def test_seeds_are_derived_for_each_place() -> None:
    spec = {"ensemble.BaggingClassifier": {"model": "forest.ARFClassifier", "n_models": 2}}
    [bagging] = complete(spec, "binary", seed=1).values()
    [forest] = bagging["model"].values()
    assert bagging["seed"] != forest["seed"]
    assert complete(spec, "binary", seed=1) == complete(spec, "binary", seed=1)
    assert complete(spec, "binary", seed=2) != complete(spec, "binary", seed=1)


def test_seeds_are_set_in_defaults_too() -> None:
    [stored] = complete("facto.FMClassifier", "binary", seed=1).values()
    assert isinstance(stored["latent_initializer"]["optim.initializers.Normal"]["seed"], int)


def test_given_seed_is_kept() -> None:
    stored = complete({"forest.AMFClassifier": {"seed": 2**32 - 1}}, "binary", seed=1)
    assert stored["forest.AMFClassifier"]["seed"] == 2**32 - 1


def test_depth_of_trees_is_finite() -> None:
    for spec in ("tree.HoeffdingTreeClassifier", {"tree.SGTClassifier": {"max_depth": None}}):
        [stored] = complete(spec, "binary", seed=1).values()
        assert stored["max_depth"] == 100


def test_stored_form_is_json_and_its_own_stored_form() -> None:
    spec = [{"union": [SCALER, {"select": ["a"]}]}, {"forest.ARFClassifier": {"n_models": 2}}]
    stored = complete(spec, "multiclass", seed=1)
    again = json.loads(json.dumps(stored))
    assert complete(again, "multiclass", seed=9) == stored


def test_shares_by_label_keep_the_type_of_the_label() -> None:
    name = "imblearn.RandomUnderSampler"
    spec = {name: {"classifier": LOGISTIC, "desired_dist": {"true": 0.5, "false": 0.5}}}
    stored = complete(spec, "binary", seed=1)
    assert stored[name]["desired_dist"] == [[True, 0.5], [False, 0.5]]
    learner: Any = build(stored)
    assert learner.desired_dist == {True: 0.5, False: 0.5}


def test_imputers_take_statistics_and_constants() -> None:
    imputer = {"preprocessing.StatImputer": {"imputers": {"a": "stats.Mean", "b": 0, "c": "x"}}}
    stored = complete([imputer, {"select": ["a", "b"]}, LINEAR], "regression", seed=1)
    assert stored[0]["preprocessing.StatImputer"]["imputers"] == {
        "a": {"stats.Mean": {}},
        "b": 0,
        "c": "x",
    }


def test_rolling_statistics_can_be_aggregated() -> None:
    rolling = {"utils.Rolling": {"statistic": "stats.Mean", "window_size": 2}}
    spec = [{"feature_extraction.Agg": {"on": "a", "by": "b", "how": rolling}}, LINEAR]
    assert complete(spec, "regression", seed=1)[0]["feature_extraction.Agg"]["by"] == "b"


def test_texts_are_rehearsed_as_texts() -> None:
    spec = [{"feature_extraction.TFIDF": {"on": "title"}}, LOGISTIC]
    assert complete(spec, "binary", seed=1)[0]["feature_extraction.TFIDF"]["on"] == "title"


def test_anomaly_filter_may_stand_before_a_predictor() -> None:
    detector = {"anomaly_detector": "anomaly.HalfSpaceTrees", "q": 0.9}
    spec = ["preprocessing.MinMaxScaler", {"anomaly.QuantileFilter": detector}, LINEAR]
    assert len(complete(spec, "regression", seed=1)) == 3


def test_unknown_name_is_refused_with_the_nearest() -> None:
    error = refused("linear_model.LogisticRegresion")
    assert error.place == "learner"
    assert error.nearest[0] == LOGISTIC
    assert str(error).endswith("instead.")


def test_bare_class_name_is_refused_with_the_full_one() -> None:
    assert refused("LogisticRegression").nearest[0] == LOGISTIC


def test_unknown_parameter_is_refused_with_the_nearest() -> None:
    error = refused([SCALER, {LOGISTIC: {"optimiser": "optim.Adam"}}])
    assert error.place == "learner[1].optimiser"
    assert error.nearest[0] == "optimizer"


def test_missing_parameter_is_refused() -> None:
    error = refused("ensemble.BaggingClassifier")
    assert (error.place, error.advice) == ("learner.model", "give it")


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"l2": "0.1"}, "learner.l2"),
        ({"l2": True}, "learner.l2"),
        ({"l2": math.nan}, "learner.l2"),
        ({"l2": math.inf}, "learner.l2"),
        ({"l2": 10**400}, "learner"),
        ({"l2": None}, "learner.l2"),
        ({"l2": [0.1]}, "learner.l2"),
        ({"optimizer": 0.1}, "learner.optimizer"),
        ({"optimizer": "optim.losses.Log"}, "learner.optimizer"),
        ({"optimizer": {"optim.SGD": {"lr": "fast"}}}, "learner.optimizer.lr"),
        ({"loss": "optim.losses.Squared"}, "learner.loss"),
        ({"initializer": "optim.SGD"}, "learner.initializer"),
    ],
)
def test_ill_typed_parameter_is_refused_where_it_is(parameters: Any, place: str) -> None:
    assert refused({LOGISTIC: parameters}).place == place


@pytest.mark.parametrize("value", [10.0, True, "10", None, 2_000_000, [10]])
def test_integer_is_an_integer_within_bounds(value: Any) -> None:
    spec = {"tree.HoeffdingTreeClassifier": {"grace_period": value}}
    assert refused(spec).place == "learner.grace_period"


def test_scheduler_or_number_is_a_learning_rate() -> None:
    for lr in (1, 0.5, {"optim.schedulers.InverseScaling": {"learning_rate": 0.1}}):
        complete({LOGISTIC: {"optimizer": {"optim.SGD": {"lr": lr}}}}, "binary", seed=1)


@pytest.mark.parametrize(
    ("spec", "task"),
    [
        (LINEAR, "binary"),
        (LOGISTIC, "regression"),
        (LOGISTIC, "anomaly"),
        ("anomaly.HalfSpaceTrees", "binary"),
        ([SCALER, "anomaly.HalfSpaceTrees"], "regression"),
        ({"ensemble.BaggingClassifier": {"model": LINEAR}}, "binary"),
    ],
)
def test_learner_of_another_task_is_refused(spec: Any, task: Task) -> None:
    assert "is due" in refused(spec, task).reason


@pytest.mark.parametrize(
    "spec",
    [LOGISTIC, [SCALER, LOGISTIC], {"ensemble.BaggingClassifier": {"model": [SCALER, LOGISTIC]}}],
)
def test_two_labels_only_is_refused_for_many_with_what_to_wrap_it_in(spec: Any) -> None:
    assert "multiclass.OneVsRestClassifier" in str(refused(spec, "multiclass"))


def test_two_labels_only_may_be_wrapped_for_many() -> None:
    complete({"multiclass.OneVsRestClassifier": {"classifier": LOGISTIC}}, "multiclass", seed=1)


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ([], "learner"),
        ([LOGISTIC, SCALER], "learner[0]"),
        ([SCALER], "learner[0]"),
        (SCALER, "learner"),
        ([LOGISTIC, LOGISTIC], "learner[0]"),
        ({"union": [SCALER]}, "learner"),
        ([{"union": [LOGISTIC]}, LOGISTIC], "learner[0].union[0]"),
        ([{"union": []}, LOGISTIC], "learner[0]"),
        ([{"union": "a"}, LOGISTIC], "learner[0]"),
        ([{"select": "a"}, LOGISTIC], "learner[0].select"),
        ([{"select": []}, LOGISTIC], "learner[0].select"),
        ([{"select": [1]}, LOGISTIC], "learner[0].select"),
        ([{"select": {"type": "integer"}}, LOGISTIC], "learner[0].select.type"),
        ([{"discard": {"suffix": "a"}}, LOGISTIC], "learner[0].discard"),
        ("optim.SGD", "learner"),
    ],
)
def test_what_is_out_of_place_is_refused_there(spec: Any, place: str) -> None:
    assert refused(spec).place == place


@pytest.mark.parametrize(
    "spec",
    [None, True, 3, 2.5, math.nan, "", "a.b", {}, {"a": 1, "b": 2}, {LOGISTIC: None}, [[]], [None]],
)
def test_no_spec_is_refused(spec: Any) -> None:
    assert str(refused(spec)).endswith(".")


@pytest.mark.parametrize("spec", [{1: 2}, (LOGISTIC,), {LOGISTIC: {"l2": {1.5}}}, object()])
def test_no_json_is_refused(spec: Any) -> None:
    assert "JSON" in str(refused(spec)) or "strings" in str(refused(spec))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_name_is_refused_with_its_reason(name: str) -> None:
    assert REFUSED[name] in str(refused([name, LOGISTIC]))


@pytest.mark.parametrize("name", ["cluster.KMeans", "anomaly.GaussianScorer", "reco.BiasedMF"])
def test_name_of_another_task_is_refused_as_such(name: str) -> None:
    assert "another task" in str(refused(name))


@pytest.mark.parametrize("name", ["os.system", "datasets.Elec2", "utils.VectorDict", "base.Base"])
def test_what_is_no_part_of_a_learner_is_unknown(name: str) -> None:
    assert refused(name).reason.startswith("there is no")


def test_parameter_that_takes_a_function_cannot_be_given() -> None:
    spec = {"drift.DriftRetrainingClassifier": {"model": LOGISTIC, "drift_detector": 3}}
    assert refused(spec).place == "learner.drift_detector"
    binarizer = {"preprocessing.Binarizer": {"dtype": "int"}}
    assert "cannot be given" in refused([binarizer, LOGISTIC]).reason


def test_kinds_that_are_alike_are_told_apart() -> None:
    error = refused(
        {"tree.HoeffdingAdaptiveTreeClassifier": {"drift_detector": "drift.binary.DDM"}}
    )
    assert error.reason.endswith("drift.binary.DDM is a binary drift detector")


def test_what_the_constructor_raises_is_mapped() -> None:
    error = refused({"ensemble.VotingClassifier": {"models": [LOGISTIC]}})
    assert "At least 2 models" in error.reason


def test_what_river_would_replace_without_a_word_is_refused() -> None:
    error = refused({"tree.HoeffdingTreeClassifier": {"leaf_prediction": "best"}})
    assert error.place == "learner.leaf_prediction"


def test_what_the_dry_run_raises_is_mapped() -> None:
    sampler = {"classifier": LOGISTIC, "desired_dist": {"spam": 0.5, "ham": 0.5}}
    assert "KeyError" in refused({"imblearn.RandomUnderSampler": sampler}).reason


@pytest.mark.parametrize("name", ["n_neighbors", "engine"])
def test_counts_are_at_least_one(name: str) -> None:
    given = -3 if name == "n_neighbors" else {"neighbors.LazySearch": {"window_size": 0}}
    assert "at least 1" in refused({"neighbors.KNNClassifier": {name: given}}).reason


def test_mixed_kinds_of_features_are_no_reason_to_refuse() -> None:
    union = {
        "union": [
            [{"select": {"type": "number"}}, SCALER],
            [{"select": {"type": "category"}}, "preprocessing.OneHotEncoder"],
        ]
    }
    complete([union, LOGISTIC], "binary", seed=1)
    complete(["preprocessing.OneHotEncoder", LOGISTIC], "binary", seed=1)


def test_build_raises_invalid_spec_only() -> None:
    for spec in (None, "a", {LOGISTIC: {"l2": "x"}}, [SCALER], object()):
        with pytest.raises(InvalidSpec):
            build(spec)


def test_null_is_kept_for_imputers_only() -> None:
    imputer = {"preprocessing.StatImputer": {"imputers": {"a": "stats.Mean"}}}
    stored = complete([imputer, LINEAR], "regression", seed=1)
    assert keeps_null(stored)
    assert not keeps_null(complete([SCALER, LINEAR], "regression", seed=1))


@pytest.mark.parametrize(
    ("spec", "task", "gives"),
    [
        (LOGISTIC, "binary", True),
        ([SCALER, LOGISTIC], "binary", True),
        ("linear_model.PAClassifier", "binary", True),
        (LINEAR, "regression", False),
        ("anomaly.HalfSpaceTrees", "anomaly", False),
        ({"ensemble.VotingClassifier": {"models": [LOGISTIC, LOGISTIC]}}, "binary", False),
    ],
)
def test_probabilities_are_given_by_those_that_can(spec: Any, task: Task, gives: bool) -> None:
    assert gives_probabilities(build(complete(spec, task, seed=1))) is gives


def test_stored_form_learns_as_river_does() -> None:
    ours: Any = build(complete([SCALER, LOGISTIC], "binary", seed=1))
    theirs = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for i in range(100):
        x = {"a": i % 7, "b": i % 11}
        assert ours.predict_proba_one(x) == theirs.predict_proba_one(x)
        ours.learn_one(x, i % 3 == 0)
        theirs.learn_one(x, i % 3 == 0)
