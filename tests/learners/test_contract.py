"""River's own checks, on every estimator and transformer that a spec may name.

River runs them on its classes; here they run on what a stored spec builds, ours included. River's
own list of them loads data sets that are downloaded, so they are named here and given a stream.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from river import base
from river.checks import clf, common

from learners.assembly import TRANSFORMER, assemble
from learners.parameters import parameters_of
from learners.published import OF_RIVER
from learners.rehearsal import answer
from learners.scope import Scope
from learners.spec import build, complete
from learners.substitutes import SUBSTITUTES
from learners.values import valued
from tests.learners.roster import TASKS, Case, estimators, said_of, stream, transformers

Check = Callable[..., None]

GENERAL: list[Check] = [
    common.check_repr,
    common.check_str,
    common.check_tags,
    common.check_doc,
    common.check_clone_same_class,
    common.check_clone_is_idempotent,
    common.check_clone_changes_memory_addresses,
    common.check_init_default_params_are_not_mutable,
    common.check_mutate_can_be_idempotent,
    common.check_pickling_supports_roundtrip,
    common.check_repr_roundtrips_clone,
    common.check_get_params_matches_signature,
]

ON_STREAM: list[Check] = [
    common.check_learn_one,
    common.check_pickling,
    common.check_shuffle_features_no_impact,
    common.check_emerging_features,
    common.check_disappearing_features,
    common.check_radically_disappearing_features,
    common.check_predict_one_pure,
    common.check_predict_one_before_any_learn,
    common.check_no_state_aliasing_with_input,
    common.check_clone_is_independent,
]

TAGS_ARE_A_DICT = "River answers its tags as a dict where it has none"
NOTHING_LEARNED = "the first examples are left out, and the softmax has no labels until then"

EXCEPTED: dict[tuple[str, str], str] = {
    ("feature_extraction.BagOfWords", "check_tags"): TAGS_ARE_A_DICT,
    ("feature_extraction.TFIDF", "check_tags"): TAGS_ARE_A_DICT,
    ("imblearn.RandomSampler", "check_predict_proba_one"): NOTHING_LEARNED,
    ("imblearn.RandomUnderSampler", "check_predict_proba_one"): NOTHING_LEARNED,
    ("preprocessing.GapEncoder", "check_tags"): TAGS_ARE_A_DICT,
}
"""Checks that do not hold, each with the reason."""

ROWS = 30


def checks_of(model: Any) -> list[Check]:
    """The checks that River would run on a model and that the model does not ask to skip."""
    if isinstance(model, base.AnomalyFilter):
        # The others ask for predictions, and a filter gives scores.
        return [*GENERAL, common.check_learn_one]
    on_stream = list(ON_STREAM)
    if isinstance(model, base.Transformer | base.SupervisedTransformer):
        on_stream.append(common.check_transform_one)
    if isinstance(model, base.Classifier):
        on_stream += [clf.check_predict_proba_one, clf.check_classifier_tracks_seen_labels]
        if not model._multiclass:
            on_stream.append(clf.check_predict_proba_one_binary)
    return [*GENERAL, *on_stream]


def model_of(case: Case) -> Any:
    if not isinstance(case.spec, list):
        return build(complete(case.spec, case.task, seed=3))
    stored = complete(case.spec, case.task, seed=3)
    return assemble(stored[0], TRANSFORMER, Scope("learner", seed=3)).value


OURS = {
    f"{name}-{task}"
    for task in TASKS
    for name in (
        *(name for name in SUBSTITUTES if name.startswith("facto.")),
        "feature_extraction.RBFSampler",
        "preprocessing.GaussianRandomProjector",
        "preprocessing.SparseRandomProjector",
        "preprocessing.StatImputer",
        "neighbors.KNNClassifier",
        "neighbors.KNNRegressor",
    )
}
OURS.add("tree.HoeffdingAdaptiveTreeClassifier-multiclass")
"""Whose answers are not River's: other random numbers, another search, or sums in another order."""

CASES = [pytest.param(case, id=case.id) for case in [*estimators(), *transformers()]]


@pytest.mark.parametrize("case", CASES)
def test_river_checks_pass(case: Case) -> None:
    model = model_of(case)
    rows = list(stream(case.rows, case.task, ROWS))
    skipped = model._unit_test_skips()
    for check in checks_of(model):
        if check.__name__ in skipped or (case.name, check.__name__) in EXCEPTED:
            continue
        fresh = model.clone()
        if check in GENERAL:
            check(fresh)
            continue
        try:
            check(fresh, copy.deepcopy(rows))
        except NotImplementedError:
            assert check in (clf.check_predict_proba_one, clf.check_predict_proba_one_binary)


@pytest.mark.parametrize("case", CASES)
def test_observation_is_left_as_it_was(case: Case) -> None:
    model = model_of(case)
    for x, y in stream(case.rows, case.task, ROWS):
        given: dict[Any, Any] = copy.deepcopy(x)
        if isinstance(model, base.Transformer | base.SupervisedTransformer):
            model.transform_one(given)
        else:
            answer(model, given, case.task)
        if model._supervised:
            model.learn_one(given, y)
        else:
            model.learn_one(given)
        assert list(given.items()) == list(x.items())


@pytest.mark.parametrize("case", CASES)
def test_stored_form_is_its_own_stored_form(case: Case) -> None:
    stored = complete(case.spec, case.task, seed=3)
    assert complete(stored, case.task, seed=4) == stored


def unordered(said: Any) -> Any:
    """What was said, without the order of the labels, which River takes from a set."""
    return (said[0], dict(said[1])) if isinstance(said, tuple) else said


@pytest.mark.parametrize("case", [case for case in CASES if case.id not in OURS])
def test_writing_defaults_out_changes_no_answer(case: Case) -> None:
    spec = case.spec[0] if isinstance(case.spec, list) else case.spec
    ours = model_of(case)
    stored = complete(case.spec, case.task, seed=3)
    [(name, given)] = spec.items()
    [(_, written)] = (stored[0] if isinstance(stored, list) else stored).items()
    kept = {
        key: valued(written[key], parameter.shape, Scope("learner", seed=3), assemble).value
        for key, parameter in parameters_of(name).items()
        if key in given or key == "seed"
    }
    theirs: Any = OF_RIVER[name](**kept)
    for x, y in stream(case.rows, case.task, ROWS):
        for model in (ours, theirs):
            if model._supervised:
                model.learn_one(dict(x), y)
            else:
                model.learn_one(dict(x))
        if isinstance(ours, base.Transformer | base.SupervisedTransformer):
            copied: dict[Any, Any] = dict(x)
            assert ours.transform_one(copied) == theirs.transform_one(copied)
        else:
            assert unordered(said_of(ours, x, case.task)) == unordered(
                said_of(theirs, x, case.task)
            )
