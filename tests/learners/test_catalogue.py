"""What may be named is found from River, and is described."""

import json

import pytest
from river import api, base

from learners.catalogue import catalogue
from learners.published import EXPORTED
from learners.refused import REFUSED
from learners.spec import InvalidSpec, Task, complete

ENTRIES = {entry.name: entry for entry in catalogue()}


def test_every_estimator_of_river_is_named_or_refused() -> None:
    for module in vars(api).values():
        for name in getattr(module, "__all__", ()):
            cls = getattr(module, name, None)
            full = f"{getattr(module, '__name__', '').removeprefix('river.')}.{name}"
            is_estimator = isinstance(cls, type) and issubclass(cls, base.Estimator)
            if not is_estimator or full.startswith(("base.", "tree.splitter.")):
                continue
            if full not in ENTRIES:
                with pytest.raises(InvalidSpec, match="cannot be used"):
                    complete(full, "binary", seed=1)


def test_refused_names_exist_and_are_not_listed() -> None:
    assert set(REFUSED) <= set(EXPORTED)
    assert not set(REFUSED) & set(ENTRIES)


def test_catalogue_is_built_once_in_order_of_names() -> None:
    assert catalogue() is catalogue()
    assert list(ENTRIES) == sorted(ENTRIES)


def test_every_kind_is_there() -> None:
    assert {entry.kind for entry in catalogue()} == {
        "estimator",
        "transformer",
        "optimizer",
        "loss",
        "scheduler",
        "initializer",
        "metric",
        "drift detector",
        "splitter",
        "quantizer",
        "statistic",
        "policy",
        "search engine",
    }


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_entry_is_described_in_json(name: str) -> None:
    entry = ENTRIES[name]
    assert json.loads(json.dumps(entry))[0] == name
    assert entry.sentence or entry.kind in ("loss", "optimizer", "initializer")


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("linear_model.LogisticRegression", ("binary",)),
        ("tree.HoeffdingTreeClassifier", ("binary", "multiclass")),
        ("ensemble.BaggingClassifier", ("binary", "multiclass")),
        ("multiclass.OneVsRestClassifier", ("binary", "multiclass")),
        ("linear_model.LinearRegression", ("regression",)),
        ("anomaly.QuantileFilter", ("anomaly",)),
        ("preprocessing.StandardScaler", ()),
        ("metrics.F1", ("binary",)),
        ("metrics.ROCAUC", ("binary", "anomaly")),
        ("metrics.MacroF1", ("binary", "multiclass")),
    ],
)
def test_tasks_follow_from_what_a_class_is(name: str, tasks: tuple[Task, ...]) -> None:
    assert ENTRIES[name].tasks == tasks


def test_parameters_tell_their_type_default_and_whether_they_are_required() -> None:
    bagging = {p.name: p for p in ENTRIES["ensemble.BaggingClassifier"].parameters}
    assert (bagging["model"].type, bagging["model"].required) == ("classifier", True)
    assert (bagging["n_models"].type, bagging["n_models"].default) == ("integer", 10)
    assert (bagging["seed"].type, bagging["seed"].default) == ("integer or null", None)
