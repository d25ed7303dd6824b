"""Our classes under River's names: what they do that River's do not."""

import inspect
import pickle
import random
from typing import Any

import pytest
from river import preprocessing, stats, tree
from river.optim.initializers import Normal, Zeros

from learners.aggregation import Agg, Grouper, Rolling, TargetAgg
from learners.factorization import FFMClassifier, FMClassifier, FwFMRegressor, HOFMRegressor
from learners.imputation import PreviousImputer, StatImputer
from learners.neighbors import KNNClassifier, LazySearch
from learners.projections import GaussianRandomProjector, RBFSampler, SparseRandomProjector
from learners.published import OF_RIVER
from learners.substitutes import SUBSTITUTES
from learners.texts import TFIDF, BagOfWords
from learners.trees import HoeffdingTreeRegressor, size_of
from tests.learners.roster import stream

FACTORIZATIONS = [FMClassifier, FFMClassifier, FwFMRegressor, HOFMRegressor]


def test_every_substitute_but_ours_stands_for_a_class_of_river() -> None:
    for name, cls in SUBSTITUTES.items():
        assert name in OF_RIVER
        assert cls is not OF_RIVER[name]
        assert cls.__name__ == OF_RIVER[name].__name__


@pytest.mark.parametrize("cls", FACTORIZATIONS)
def test_predicting_on_unseen_features_stores_nothing(cls: Any) -> None:
    learner = cls(seed=1)
    for x, y in stream("numbers", "regression", 20):
        learner.learn_one(x, y > 0.5)
    before = pickle.dumps((dict(learner.weights), dict(learner.latents)))
    first = learner.predict_one({"new": 1.0, "newer": 2.0, "a": 1.0})
    assert learner.predict_one({"new": 1.0, "newer": 2.0, "a": 1.0}) == first
    assert pickle.dumps((dict(learner.weights), dict(learner.latents))) == before


@pytest.mark.parametrize("cls", FACTORIZATIONS)
def test_first_weights_hang_on_the_seed_and_the_name_only(cls: Any) -> None:
    x = {"a": 1.0, "b": 2.0, "c": 3.0}
    one, same, other = cls(seed=1), cls(seed=1), cls(seed=2)
    same.predict_one({"z": 1.0, "y": 1.0})
    same.learn_one({"z": 1.0, "y": 1.0}, True)
    latents = [
        str(learner.latents["a"]["b"] if learner.has_nested_latents else learner.latents["a"])
        for learner in (one, same, other)
    ]
    assert latents[0] == latents[1] != latents[2]
    assert one.predict_one(x) is not None


@pytest.mark.parametrize("cls", FACTORIZATIONS)
def test_factorizations_learn(cls: Any) -> None:
    learner = cls(seed=1, latent_initializer=Normal(sigma=0.1, seed=3))
    untaught = repr(learner.latents["a"])
    for x, y in stream("numbers", "regression", 20):
        learner.learn_one(x, y > 0.5)
    assert repr(learner.latents["a"]) != untaught


def test_weights_without_chance_come_from_their_initializer() -> None:
    learner = FMClassifier(latent_initializer=Zeros(), n_factors=2)
    assert list(learner.latents["a"]) == [0.0, 0.0]


def test_regressor_without_experience_predicts_a_float() -> None:
    assert FwFMRegressor(seed=1).predict_one({}) == 0.0


def test_neighbours_keep_labels_in_the_order_in_which_they_came() -> None:
    learner: Any = KNNClassifier(engine=LazySearch(window_size=2), cleanup_every=3)
    for i, label in enumerate(["zebra", "ape", "owl"]):
        learner.learn_one({"a": float(i)}, label)
    assert list(learner.predict_proba_one({"a": 1.0})) == ["ape", "owl"]


def test_imputers_leave_out_what_they_cannot_fill() -> None:
    previous = PreviousImputer()
    previous.learn_one({"a": 1, "b": None})
    assert previous.transform_one({"b": None, "a": None, "c": 0}) == {"a": 1, "c": 0}
    imputer = StatImputer({"a": stats.Mean(), "b": 0})
    assert imputer.transform_one({"a": None, "b": None, "c": None, "d": 1}) == {"b": 0, "d": 1}
    imputer.learn_one({"a": 3.0})
    imputer.learn_one({"b": 1})
    assert imputer.transform_one({"a": None}) == {"a": 3.0}


def test_clone_of_an_imputer_has_no_experience() -> None:
    imputer = StatImputer({"a": stats.Mean()})
    imputer.learn_one({"a": 3.0})
    assert imputer.clone().transform_one({"a": None}) == {}


def test_asking_for_an_unseen_group_stores_nothing() -> None:
    agg: Any = Agg("a", "b", stats.Mean())
    target: Any = TargetAgg(["b"], stats.Mean())
    grouper: Any = Grouper(preprocessing.StandardScaler(), "b")
    agg.transform_one({"b": "x"})
    target.transform_one({"b": "x"})
    grouper.transform_one({"b": 1.0, "a": 2.0})
    assert not agg._groups
    assert not target._groups
    assert not grouper.transformers


def test_observation_without_its_group_is_passed_over() -> None:
    agg: Any = Agg("a", "b", stats.Mean())
    target: Any = TargetAgg(["b"], stats.Mean())
    agg.learn_one({"a": 1.0})
    agg.learn_one({"b": "x"})
    target.learn_one({}, 1.0)
    assert agg.transform_one({}) == target.transform_one({}) == {}


def test_rolling_needs_a_statistic_that_can_take_back() -> None:
    with pytest.raises(ValueError, match="take a value back"):
        Rolling(stats.Max(), 3)


@pytest.mark.parametrize("cls", [RBFSampler, GaussianRandomProjector, SparseRandomProjector])
def test_projection_of_a_feature_hangs_on_the_seed_and_its_name_only(cls: Any) -> None:
    one, same, other = cls(seed=1), cls(seed=1), cls(seed=2)
    one.transform_one({"unseen": 1.0})
    one.learn_one({"z": 1.0, "a": 1.0})
    assert one.transform_one({"a": 1.0}) == same.transform_one({"a": 1.0})
    assert one.transform_one({"a": 1.0}) != other.transform_one({"a": 1.0})
    assert list(one._weights) == ["z", "a"]


def test_absent_text_is_no_words() -> None:
    words: Any = BagOfWords(on="text")
    weights: Any = TFIDF(on="text")
    weights.learn_one({})
    assert words.transform_one({"text": None}) == weights.transform_one({}) == {}
    assert weights.n == 0


def test_size_of_a_tree_survives_a_pickle() -> None:
    learner: Any = HoeffdingTreeRegressor(grace_period=20, delta=0.1)
    for x, y in stream("numbers", "regression", 400):
        learner.learn_one(x, y)
    assert learner.n_nodes > 1
    assert size_of(learner) == size_of(pickle.loads(pickle.dumps(learner)))


@pytest.mark.parametrize("name", [name for name in SUBSTITUTES if name.startswith("tree.")])
def test_tree_of_limited_size_predicts_the_same_after_a_pickle(name: str) -> None:
    task = "regression" if name.endswith("Regressor") else "binary"
    parameters = {"max_size": 0.05, "memory_estimate_period": 50}
    kept = SUBSTITUTES[name](**parameters)
    restored = SUBSTITUTES[name](**parameters)
    if isinstance(kept, tree.HoeffdingAdaptiveTreeClassifier | tree.HoeffdingAdaptiveTreeRegressor):
        kept, restored = kept.clone({"seed": 1}), restored.clone({"seed": 1})
    for i, (x, y) in enumerate(stream("numbers", task, 900)):
        assert kept.predict_one(x) == restored.predict_one(x)
        kept.learn_one(x, y)
        restored.learn_one(x, y)
        if i % 100 == 50:
            restored = pickle.loads(pickle.dumps(restored))


CLASSIFYING_TREES = [
    name
    for name in SUBSTITUTES
    if name.startswith(("tree.", "forest.ARF")) and name.endswith("Classifier")
]


@pytest.mark.parametrize("name", CLASSIFYING_TREES)
@pytest.mark.parametrize("binary_split", [False, True])
def test_tree_with_categories_predicts_the_same_after_a_pickle(
    name: str, binary_split: bool
) -> None:
    known: dict[str, Any] = {"binary_split": binary_split, "grace_period": 20, "delta": 0.2}
    known |= {"seed": 1, "n_models": 3}
    signature = inspect.signature(OF_RIVER[name]).parameters
    parameters = {key: value for key, value in known.items() if key in signature}
    kept, restored = (SUBSTITUTES[name](**parameters) for _ in range(2))
    generator = random.Random(1)
    categories = [f"category {generator.random()}" for _ in range(12)]
    for i in range(600):
        group, noise = generator.randrange(12), generator.randrange(12)
        x = {"group": categories[group], "noise": categories[noise], "n": generator.random()}
        y = f"label {group % 4}"
        assert kept.predict_proba_one(x) == restored.predict_proba_one(x)
        assert list(kept.predict_proba_one(x)) == list(restored.predict_proba_one(x))
        kept.learn_one(x, y)
        restored.learn_one(x, y)
        if i % 50 == 30:
            restored = pickle.loads(pickle.dumps(restored))


@pytest.mark.parametrize(
    "name", ["dummy.NoChangeClassifier", "forest.AMFClassifier", "neighbors.KNNClassifier"]
)
def test_probabilities_keep_the_order_in_which_labels_came(name: str) -> None:
    learner: Any = SUBSTITUTES[name]()
    labels = [f"label {n * 7919 % 31}" for n in range(31)]
    for n, label in enumerate(labels):
        learner.learn_one({"a": float(n)}, label)
    assert list(learner.predict_proba_one({"a": 3.0})) == labels
    assert list(pickle.loads(pickle.dumps(learner)).predict_proba_one({"a": 3.0})) == labels
