"""Proposes a model for a table: its task, the types of its features, and a learner.

    label      true, false, 1, 0 ─▶ binary     text, or few whole numbers ─▶ multiclass
               other numbers ─▶ regression
    number     ─▶ scaled           boolean  ─▶ as it is        text ─▶ its words, hashed
    category   ─▶ one-hot, or hashed if there are many
    left out   what names a row, counts the rows, is a date or time, or is always empty

What comes out is put into a linear model: logistic, softmax, or linear regression of the scaled
label. The columns are named in the spec, so that what is left out stays out of it even when it is
sent. Everything is said of the first rows; a later row may be otherwise.
"""

from collections import deque
from typing import Any, NamedTuple

from app.columns import (
    MISSING,
    SAMPLE_ROWS,
    TRUTHS,
    Column,
    are_integers,
    label_converter,
    plain_number,
    profile,
    shown,
)
from app.loading import Roles
from app.ordering import times
from app.tabular import Row, Table, UnreadableFile

CLASSES_MAX = 20
"""Whole numbers with more different values than this are a quantity, not a class."""

ONE_HOT_MAX = 100
"""A category with more different values than this is hashed."""

HASHED_FEATURES = 4_096
"""Into how many features categories and words are hashed: a bound on what the learner holds."""

NAMING_SHARE = 0.95
"""A category of which this share of the cells differ names the row."""

NAMING_ROWS_MIN = 20
"""In fewer rows than this a category may differ everywhere by chance."""

TEXT_WORDS_MIN = 4.0
"""With so many words on average a category that differs everywhere is a text."""


class Fate(NamedTuple):
    """What becomes of a column: its type and how the learner takes it, or why it is left out."""

    type: str | None
    how: str

    @property
    def is_dropped(self) -> bool:
        """Whether it is left out."""
        return self.type is None


class Proposal(NamedTuple):
    """A model for a table, and what becomes of each of its columns but the label.

    `why` says what of the labels made the task, if it may be otherwise than was meant. `time` is
    the only column that can tell the order in which the rows are to be learned.
    """

    task: str
    learner: Any
    fates: dict[str, Fate]
    why: str = ""
    time: str | None = None

    def features(self) -> dict[str, str]:
        """The types of what is kept."""
        return {name: fate.type for name, fate in self.fates.items() if fate.type is not None}

    def dropped(self) -> list[str]:
        """The columns that are left out without having been named as such."""
        return [
            name
            for name, fate in self.fates.items()
            if fate.is_dropped and fate.how not in (NAMED, ORDERING)
        ]


NAMED = "is named as no feature"
ORDERING = "is a date or time: the rows are learned in its order, by --time"


def propose(table: Table, roles: Roles, task: str | None = None) -> Proposal:
    """A model for a table, of this task or of the one that the labels look like.

    Raises `UnreadableFile` if a column is missing, no row has a label, the labels are none of the
    task, a row has no time, or no feature is left.
    """
    sample = table.sample(SAMPLE_ROWS)
    columns = profile(sample, table.is_text)
    roles.check(columns, table)
    labelled = [(row, row.cell(roles.label)) for row in sample] if roles.label else []
    labelled = [(row, label) for row, label in labelled if label is not None and label != ""]
    if task is None:
        task = _task([label for _, label in labelled], table)
        odd = columns[roles.label].odd if roles.label else None
        why = f"of the labels, {odd}" if odd else _why(task, [label for _, label in labelled])
    else:
        why = ""
        _check(task, labelled, table)
    if roles.time is not None:
        deque(times(sample, table, roles.time), maxlen=0)
    beside = {name for row in sample for name in row.beside or ()}
    fates = {
        name: Fate(None, NAMED) if name in roles.named() else _fate(column)
        for name, column in columns.items()
        if name != roles.label and (name not in beside or name in roles.named())
    }
    ordering = [
        name
        for name in fates
        if columns[name].are_instants and not columns[name].missing and name not in roles.named()
    ]
    time = ordering[0] if roles.time is None and len(ordering) == 1 else None
    if time is not None:
        fates[time] = Fate(None, ORDERING)
    if all(fate.is_dropped for fate in fates.values()):
        raise UnreadableFile(
            f"{table.path} has no column to learn from: each is the label, names its row, or is "
            "empty. Write the learner yourself: --learner."
        )
    return Proposal(task, _learner(fates, task), fates, why, time)


def _check(task: str, labelled: list[tuple[Row, Any]], table: Table) -> None:
    """Raises `UnreadableFile` if most labels are none of the task: a few are refused later."""
    convert = label_converter(task, labels_are_integers=False)
    wrong = []
    for row, label in labelled:
        try:
            convert(label)
        except ValueError as error:
            wrong.append(f"line {row.line}: {error}")
    if 2 * len(wrong) > len(labelled):
        raise UnreadableFile(
            f"{table.path}, {wrong[0]}. Most labels are like it. Rewrite them, or "
            "leave --task out: then one is proposed that takes them."
        )


def _why(task: str, labels: list[Any]) -> str:
    """Two texts are told apart as well by the task binary, which does not take them."""
    kinds = [*dict.fromkeys(label for label in labels if str(label).lower() not in MISSING)]
    if task != "multiclass" or len(kinds) != 2 or not all(isinstance(kind, str) for kind in kinds):
        return ""
    first, second = map(shown, kinds)
    return f"the labels are {first} and {second}, and binary takes only true and false, or 1 and 0"


def _task(labels: list[Any], table: Table) -> str:
    texts = {str(label).lower() for label in labels if not isinstance(label, float)}
    texts |= {f"{label:g}" for label in labels if isinstance(label, float)}
    values = texts - MISSING
    if not values:
        raise UnreadableFile(
            f"{table.path} has no label in its first {SAMPLE_ROWS:,} rows. Name another column."
        )
    if values <= TRUTHS.keys():
        return "binary"
    numeric = all(plain_number(value) is not None for value in values)
    few = len(values) <= CLASSES_MAX and 2 * len(values) <= len(labels)
    if numeric and not (few and are_integers(values)):
        return "regression"
    return "multiclass"


def _fate(column: Column) -> Fate:
    fate = _fate_of_type(column)
    return fate if column.odd is None else Fate(fate.type, f"{fate.how}. But {column.odd}")


def _fate_of_type(column: Column) -> Fate:
    present = column.rows - column.missing
    differs = present >= NAMING_ROWS_MIN and column.distinct >= NAMING_SHARE * present
    if column.type is None:
        return Fate(None, f"is empty in the first {column.rows:,} rows")
    if column.is_counter and column.rows >= NAMING_ROWS_MIN:
        return Fate(None, "counts the rows")
    if column.type == "number":
        return Fate("number", "scaled")
    if column.type == "boolean":
        return Fate("boolean", "as it is")
    if column.are_instants:
        return Fate(None, "is a date or time: learn in its order by --time, or make numbers of it")
    if differs and column.words >= TEXT_WORDS_MIN:
        return Fate("text", f"its words, hashed into {HASHED_FEATURES:,} features")
    if differs:
        return Fate(None, f"names the row: {column.distinct:,} different values in {present:,}")
    if column.distinct > ONE_HOT_MAX:
        return Fate("category", f"hashed: {column.distinct:,} different values")
    return Fate("category", f"one-hot: {column.distinct:,} different values")


def _learner(fates: dict[str, Fate], task: str) -> Any:
    def named(type: str, how: str = "") -> list[str]:
        return [name for name, f in fates.items() if f.type == type and f.how.startswith(how)]

    numbers, one_hot, hashed = (
        named("number"),
        named("category", "one-hot"),
        named("category", "hashed"),
    )
    hasher = {"preprocessing.FeatureHasher": {"n_features": HASHED_FEATURES}}
    branches: list[Any] = []
    if numbers:
        branches.append([{"select": numbers}, "preprocessing.StandardScaler"])
    if named("boolean"):
        branches.append({"select": named("boolean")})
    if one_hot:
        encoder = {"preprocessing.OneHotEncoder": {"drop_zeros": True}}
        branches.append([{"select": one_hot}, encoder])
    if hashed:
        branches.append([{"select": hashed}, hasher])
    for text in named("text"):
        branches.append([{"feature_extraction.BagOfWords": {"on": text}}, hasher])
    head = _head(task, len(numbers))
    if len(branches) > 1:
        return [{"union": branches}, head]
    [only] = branches
    return [*(only if isinstance(only, list) else [only]), head]


def _head(task: str, numbers: int) -> Any:
    """What learns. With many numbers a step of the usual size would overshoot."""
    step = {"optimizer": {"optim.SGD": {"lr": round(0.5 / numbers, 6)}}} if numbers > 50 else {}
    if task == "binary":
        return {"linear_model.LogisticRegression": step} if step else LOGISTIC
    if task == "multiclass":
        return {"linear_model.SoftmaxRegression": step} if step else SOFTMAX
    if task == "regression":
        regressor = {LINEAR: step} if step else LINEAR
        return {"preprocessing.TargetStandardScaler": {"regressor": regressor}}
    return "anomaly.HalfSpaceTrees"


LOGISTIC = "linear_model.LogisticRegression"
SOFTMAX = "linear_model.SoftmaxRegression"
LINEAR = "linear_model.LinearRegression"
