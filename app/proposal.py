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

from typing import Any, NamedTuple

from app.columns import SAMPLE_ROWS, TRUTHS, Column, are_integers, plain_number, profile
from app.loading import Roles
from app.tabular import Table, UnreadableFile

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
    """A model for a table, and what becomes of each of its columns but the label."""

    task: str
    learner: Any
    fates: dict[str, Fate]

    def features(self) -> dict[str, str]:
        """The types of what is kept."""
        return {name: fate.type for name, fate in self.fates.items() if fate.type is not None}

    def dropped(self) -> list[str]:
        """The columns that are left out without having been named as such."""
        return [name for name, fate in self.fates.items() if fate.is_dropped and fate.how != NAMED]


NAMED = "is named as no feature"


def propose(table: Table, roles: Roles, task: str | None = None) -> Proposal:
    """A model for a table, of this task or of the one that the labels look like.

    Raises `UnreadableFile` if a column is missing, no row has a label, or no feature is left.
    """
    sample = table.sample(SAMPLE_ROWS)
    columns = profile(sample, table.is_text)
    roles.check(columns, table)
    labels = [] if roles.label is None else [row.cell(roles.label) for row in sample]
    task = task or _task([label for label in labels if label is not None and label != ""], table)
    beside = {name for row in sample for name in row.beside or ()}
    fates = {
        name: Fate(None, NAMED) if name in roles.named() else _fate(column)
        for name, column in columns.items()
        if name != roles.label and (name not in beside or name in roles.named())
    }
    if all(fate.is_dropped for fate in fates.values()):
        raise UnreadableFile(
            f"{table.path} has no column to learn from: each is the label, names its row, or is "
            "empty. Write the learner yourself: --learner."
        )
    return Proposal(task, _learner(fates, task), fates)


def _task(labels: list[Any], table: Table) -> str:
    texts = {str(label).lower() for label in labels if not isinstance(label, float)}
    texts |= {f"{label:g}" for label in labels if isinstance(label, float)}
    values = texts - {"na", "n/a", "nan", "null", "none"}
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
