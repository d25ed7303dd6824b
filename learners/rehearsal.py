"""The dry run that every new spec must pass: what a constructor does not check, using it shows.

A throw-away learner predicts on nothing, learns a few examples, predicts, and its state goes
through bytes. It may want numbers, categories or text: several kinds of examples are tried, and one
that works is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from river import compose

from learners.refusal import InvalidSpec
from learners.scope import mapped
from learners.states import dump, load

GENERIC = ("a", "b", "c")
TEXTS = ("good cheap fast", "bad dear slow", "good slow")
CATEGORIES = ("red", "blue", "red")

NAMING = frozenset(
    "select discard on by nominal_attributes imputers categories limits mapping".split()
)
"""The keys of a spec under which features are named, as values or as keys."""

LABELS: dict[str, tuple[Any, ...]] = {
    "binary": (True, False, True, False, True, True),
    "multiclass": ("one", "two", "three", "one", "two", "three"),
    "regression": (1.5, 2.0, 0.5, 3.0, 2.5, 1.0),
    "anomaly": (None,) * 6,
}


def final_of(learner: Any) -> Any:
    """The last step of a pipeline, or the learner itself.

    Examples
    --------
    >>> from river import linear_model, preprocessing
    >>> final_of(preprocessing.StandardScaler() | linear_model.Perceptron()).__class__.__name__
    'Perceptron'

    """
    while isinstance(learner, compose.Pipeline):
        learner = next(reversed(learner.steps.values()))
    return learner


def answer(learner: Any, x: dict[str, Any], task: str) -> Any:
    """What a learner says of features: its score, or its prediction.

    Examples
    --------
    >>> from river import linear_model
    >>> answer(linear_model.LinearRegression(), {}, "regression")
    0.0

    """
    return learner.score_one(x) if task == "anomaly" else learner.predict_one(x)


def learn(learner: Any, x: dict[str, Any], y: Any, task: str) -> None:
    """Teach a learner an example; an anomaly's has no label.

    Examples
    --------
    >>> from river import dummy
    >>> learner = dummy.NoChangeClassifier()
    >>> learn(learner, {}, True, "binary")
    >>> answer(learner, {}, "binary")
    True

    """
    if task == "anomaly":
        learner.learn_one(x)
    else:
        learner.learn_one(x, y)


def names_in(spec: Any) -> tuple[set[str], set[str]]:
    """The features that a spec speaks of, and those of them by which something is grouped.

    Examples
    --------
    >>> names_in([{"select": ["a"]}, {"feature_extraction.Agg": {"on": "a", "by": "b"}}])[1]
    {'b'}

    """
    found: set[str] = set()
    grouping: set[str] = set()
    queue = [spec]
    while queue:
        part = queue.pop()
        if isinstance(part, list):
            queue.extend(part)
        elif isinstance(part, dict):
            queue.extend(part.values())
            for key in NAMING.intersection(part):
                names = [part[key]] if isinstance(part[key], str) else part[key]
                said = {name for name in names or () if isinstance(name, str)}
                found |= said
                grouping |= said if key == "by" else set()
    return found, grouping


def examples(spec: Any, task: str) -> Iterator[list[tuple[dict[str, Any], Any]]]:
    """Kinds of examples, the likeliest first: numbers, categories, text, truths, and mixtures.

    Examples
    --------
    >>> [next(iter(rows))[0]["a"] for rows in examples(None, "binary")]
    [0.5, 'red', 'good cheap fast', True, 0.5]

    """
    spoken_of, by = names_in(spec)
    names = [*sorted(spoken_of), *GENERIC]
    numbers = [0.5, 1.0, 2.0, 0.25, 1.5, 4.0]

    def value(kind: str, row: int, column: int) -> Any:
        if kind == "number":
            return numbers[(row + 2 * column) % 6]
        if kind == "boolean":
            return (row + column) % 2 == 0
        return (CATEGORIES if kind == "category" else TEXTS)[(row + column) % 3]

    for kind in ("number", "category", "text", "boolean"):
        yield [
            (
                {n: value("category" if n in by else kind, i, j) for j, n in enumerate(names)},
                y,
            )
            for i, y in enumerate(labels_for(spec, task))
        ]
    kinds = ("number", "category", "text")
    yield [
        ({n: value(kinds[(j + len(names)) % 3], i, j) for j, n in enumerate(names)}, y)
        for i, y in enumerate(labels_for(spec, task))
    ]


def labels_for(spec: Any, task: str) -> tuple[Any, ...]:
    """Labels to learn: the task's, or those that the spec speaks of, where it speaks of any.

    Examples
    --------
    >>> labels_for({"desired_dist": [["a", 0.5], ["b", 0.5]]}, "multiclass")
    ('a', 'b', 'a', 'b', 'a', 'b')

    """
    known = _labels_in(spec) if task == "multiclass" else []
    return tuple((known * 6)[:6]) if known else LABELS[task]


def _labels_in(spec: Any) -> list[Any]:
    found: list[Any] = []
    if isinstance(spec, dict):
        for key, value in spec.items():
            is_by_label = key in ("desired_dist", "class_weight") and isinstance(value, list)
            found += [pair[0] for pair in value] if is_by_label else _labels_in(value)
    elif isinstance(spec, list):
        for part in spec:
            found += _labels_in(part)
    return found


def taught(make: Callable[[], Any], spec: Any, task: str) -> tuple[Any, dict[str, Any]]:
    """A learner from `make` that learned one kind of examples, and features of that kind.

    When none can be learned, what the first kind raised is raised.

    Examples
    --------
    >>> from river import naive_bayes
    >>> learner, x = taught(naive_bayes.GaussianNB, None, "binary")
    >>> sorted(x)
    ['a', 'b', 'c']

    """
    first: Exception | None = None
    for rows in examples(spec, task):
        learner = make()
        try:
            for x, y in rows:
                answer(learner, x, task)
                learn(learner, x, y, task)
            answer(learner, rows[0][0], task)
        except Exception as error:
            first = first or error
        else:
            return learner, rows[0][0]
    raise first or ValueError("there was no example")


def rehearse(make: Callable[[], Any], spec: Any, task: str) -> None:
    """Refuse a spec whose learner cannot learn, predict or be kept.

    A learner may raise for features that it misses: only that it goes on is asked there.

    Examples
    --------
    >>> from river import naive_bayes
    >>> rehearse(naive_bayes.GaussianNB, "naive_bayes.GaussianNB", "binary")

    """
    advice = "change its steps or their parameters"
    with mapped("learner", "predicting on no features", advice), suppress(Exception):
        answer(make(), {}, task)
    with mapped("learner", "learning a few examples", advice):
        learner, x = taught(make, spec, task)
    with mapped("learner", "keeping its state", advice):
        restored = load(dump(learner))
        is_same = repr(answer(restored, x, task)) == repr(answer(learner, x, task))
    if not is_same:
        raise InvalidSpec("learner", "once kept and restored it predicts otherwise", advice=advice)
