"""A learner's state as bytes, and back: pickles that name only what learners are made of.

A pickle is a program: it calls what it names. The one that is read here may name only what stands
in a list of exact names, each with the object that it stands for:

- the classes that River's modules of learners define, and those of ours;
- the few of Python's and NumPy's that they are made of, and River's functions that they keep;
- `getattr`, for the bound methods that they keep, as a function that knows their names.

It may change only what it makes itself: if what it names has changed when it is read, that is
undone, and the state is refused. How much memory and time it takes to read is not bounded, so
whoever keeps states where others can write signs them, and reads none whose signature is wrong.

Dumping leaves out what River carries and never uses: each distribution has a random generator of
2.5 kB that only its `sample` draws from, which is nine tenths of a tree. `lean` leaves out that the
reader is to remember each object in case that it is referred to again: hardly any is.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
import pickletools
import random
import struct
import sys
from collections.abc import Callable, Iterable
from functools import cache
from io import BytesIO
from operator import attrgetter
from typing import Any

from river import proba

MADE_OF: dict[str, tuple[str, ...]] = {
    "builtins": ("bool", "dict", "float", "int", "set", "str", "tuple"),
    "collections": ("Counter", "OrderedDict", "defaultdict", "deque"),
    "copy": ("deepcopy",),
    "functools": ("partial",),
    "numpy": ("array", "dtype", "ndarray", "ones"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "numpy.random._mt19937": ("MT19937",),
    "numpy.random._pickle": ("__bit_generator_ctor", "__randomstate_ctor"),
    "operator": ("itemgetter",),
    "random": ("Random",),
    "statistics": ("NormalDist",),
}
"""What of Python's and NumPy's learners are made of. None of it opens, imports or runs anything."""

NOT_OF_LEARNERS = (
    *("river.checks", "river.datasets", "river.evaluate", "river.stream"),
    *("learners.states", "learners.catalogue", "learners.evaluation", "learners.rehearsal"),
    *("learners.refusal", "learners.refused", "learners.published", "learners.spec"),
)
"""Modules that no learner holds anything of; some open files and addresses."""

FUNCTIONS: dict[str, tuple[str, ...]] = {
    "river._river_rust.vectordict": ("euclidean_distance_tuple", "euclidean_distance_dict"),
    "river.feature_extraction.vectorize": (
        "strip_accents_unicode",
        "tokenize_using_regex_pattern",
    ),
    "river.forest.online_extra_trees": (
        "ExtraTrees._detection_mode_all",
        "ExtraTrees._detection_mode_drop",
        "ExtraTrees._detection_mode_off",
    ),
    "river.naive_bayes.gaussian": ("GaussianNB._make_gaussian",),
    "river.tree.splitter.ebst_splitter": (
        "EBSTNode._update_estimator_multivariate",
        "EBSTNode._update_estimator_univariate",
    ),
}
"""River's functions that learners keep."""

METHODS = frozenset(
    (
        "_calc_tau_1",
        "_calc_tau_2",
        "_drawn",
        "_leveraging_bag",
        "_next_code",
        "_scale",
        "_unscale",
        "clone",
        "gauss",
        "lower",
    )
)
"""The bound methods that learners keep."""

GENERATOR = random.Random(0)
"""What restored distributions draw from, if ever: they carry none of their own."""


PROTOCOL = 5
"""Of the pickles that states are."""

FRAME_BYTES = 16_384
"""How much of a lean state is read at once: between two reads others may have the interpreter."""


class StateRefused(Exception):
    """The bytes are no state of a learner, or the learner has one that bytes cannot hold."""


def dump(state: object) -> bytes:
    """A learner, or what holds one, as bytes.

    Raises
    ------
    StateRefused
        It is nested too deeply, or holds what has no form as bytes.

    Examples
    --------
    >>> from river import naive_bayes
    >>> model = naive_bayes.GaussianNB()
    >>> for i in range(100):
    ...     model.learn_one({"a": i % 7, "b": i % 3}, i % 2 == 0)
    >>> kept = dump(model)
    >>> len(kept) < 2_500
    True
    >>> load(kept).predict_proba_one({"a": 1, "b": 2}) == model.predict_proba_one({"a": 1, "b": 2})
    True

    """
    file = BytesIO()
    try:
        _Writer(file, protocol=PROTOCOL).dump(state)
    except (pickle.PicklingError, RecursionError, TypeError, AttributeError) as error:
        raise StateRefused(f"it cannot be kept: {type(error).__name__}: {error}") from error
    return file.getvalue()


def lean(data: bytes) -> bytes:
    """The same state, in a form that is read with far less memory, and in small frames.

    A reader of what `dump` writes remembers every object, and forgets all of them at once, for
    which it keeps the interpreter from everybody: 10 ms for a forest of 100,000 objects. This takes
    about a second for each two megabytes.

    Examples
    --------
    >>> state = dump([{"a": 1.0}, {"a": 2.0}])
    >>> load(lean(state)) == load(state)
    True

    """
    wanted = {arg for opcode, arg, _ in pickletools.genops(data) if opcode.name in _RECALLS}
    parts: list[bytes] = []
    frame = bytearray()
    copied = remembered = 0
    for opcode, _, place in pickletools.genops(data):
        at = place or 0
        if opcode.name == "PROTO":
            copied = at + 2
        elif opcode.name == "FRAME":
            frame += data[copied:at]
            copied = at + _FRAME.size
        elif opcode.name == "MEMOIZE":
            frame += data[copied:at]
            copied = at + 1
            if remembered in wanted:
                frame += _REMEMBER.pack(pickle.LONG_BINPUT, remembered)
            remembered += 1
        elif len(frame) + at - copied >= FRAME_BYTES:
            frame += data[copied:at]
            copied = at
            parts.append(_FRAME.pack(pickle.FRAME, len(frame)) + frame)
            frame.clear()
    frame += data[copied:]
    return b"".join([*_PROTO, *parts, _FRAME.pack(pickle.FRAME, len(frame)), frame])


_RECALLS = frozenset(("BINGET", "LONG_BINGET"))
_REMEMBER = struct.Struct("<cI")
_FRAME = struct.Struct("<cQ")
_PROTO = (pickle.PROTO, bytes([PROTOCOL]))


def load(data: bytes, own: Iterable[type] = (), rest: Callable[[], None] | None = None) -> Any:
    """What was dumped. `own` are classes that may be named besides those of learners.

    It is read a frame at a time, and `rest` is called before each.

    Raises
    ------
    StateRefused
        The bytes are damaged, or name what no learner is made of. Nothing of it was called.

    Examples
    --------
    >>> load(b"cos\\nsystem\\n(S'true'\\ntR.")
    Traceback (most recent call last):
    learners.states.StateRefused: it names os.system, which no learner is made of

    """
    reader = _Reader(BytesIO(data) if rest is None else _Rested(data, rest))
    reader.own = {(cls.__module__, cls.__qualname__): cls for cls in own}
    try:
        found = reader.load()
        reader.check_named()
        return found
    except StateRefused:
        raise
    except Exception as error:
        raise StateRefused(f"it is damaged: {type(error).__name__}: {error}") from error
    except BaseException as error:
        # A panic of River's Rust core is no `Exception`.
        if type(error).__name__ != "PanicException":
            raise
        raise StateRefused(f"it is damaged: {error}") from error


class _Writer(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, proba.base.Distribution) or obj.seed is not None:
            return NotImplemented
        reduced: Any = obj.__reduce_ex__(PROTOCOL)
        state = {name: value for name, value in reduced[2].items() if name != "_rng"}
        return reduced[0], reduced[1], state, None, None, _restore_distribution


def _restore_distribution(distribution: Any, state: dict[str, Any]) -> None:
    distribution.__dict__.update(state, _rng=GENERATOR)


class _Rested:
    """A state whose reader rests before it reads on."""

    def __init__(self, data: bytes, rest: Callable[[], None]) -> None:
        self._file = BytesIO(data)
        self._rest = rest
        self.readline = self._file.readline

    def read(self, size: int) -> bytes:
        """Read so many bytes, after a rest."""
        self._rest()
        return self._file.read(size)


class _Reader(pickle.Unpickler):
    own: dict[tuple[str, str], type]

    def __init__(self, file: BytesIO | _Rested) -> None:
        super().__init__(file)
        self._named: dict[int, tuple[Any, dict[str, Any]]] = {}

    def find_class(self, module: str, name: str) -> Any:
        found = _allowed().get((module, name)) or self.own.get((module, name))
        if found is None:
            raise StateRefused(f"it names {module}.{name}, which no learner is made of")
        if id(found) not in self._named:
            self._named[id(found)] = found, _attributes(found)
        return found

    def check_named(self) -> None:
        """Raises `StateRefused` if something that was named has changed, and undoes it."""
        patched = []
        for found, before in self._named.values():
            now = _attributes(found)
            wrong = [n for n in now.keys() | before.keys() if now.get(n, n) is not before.get(n, n)]
            for name in wrong:
                patched.append(f"{getattr(found, '__qualname__', found)}.{name}")
                if name in before:
                    setattr(found, name, before[name])
                else:
                    delattr(found, name)
        if patched:
            raise StateRefused(f"it changes {sorted(patched)[0]}, which is none of its own")


def _attributes(named: Any) -> dict[str, Any]:
    """What can be set of a class or a function."""
    found = dict(getattr(named, "__dict__", {}))
    if inspect.isfunction(named):
        found |= {name: getattr(named, name) for name in _OF_FUNCTIONS}
    return found


_OF_FUNCTIONS = ("__code__", "__defaults__", "__kwdefaults__")


@cache
def _allowed() -> dict[tuple[str, str], Any]:
    """Every name that a state may have, with what it stands for: defined there, by that name."""
    # Whatever a learner may hold has been imported with these.
    importlib.import_module("river.api")
    importlib.import_module("learners.learner")
    found: dict[tuple[str, str], Any] = {
        (module, name): attrgetter(name)(importlib.import_module(module))
        for module, names in (MADE_OF | FUNCTIONS).items()
        for name in names
    }
    for module, contents in list(sys.modules.items()):
        if not module.startswith(("river.", "learners.")) or module.startswith(NOT_OF_LEARNERS):
            continue
        for member in vars(contents).values():
            if inspect.isclass(member) and member.__module__ == module:
                found[module, member.__qualname__] = member
    found["builtins", "getattr"] = _bound
    found[__name__, _restore_distribution.__name__] = _restore_distribution
    return found


def _bound(owner: Any, name: str) -> Any:
    """A bound method, in the place of `getattr`."""
    cls = owner if isinstance(owner, type) else type(owner)
    known = _allowed().get((cls.__module__, cls.__qualname__)) is cls
    if name not in METHODS or not known:
        raise StateRefused(f"it asks for {cls.__name__}.{name}, which no learner keeps")
    return getattr(owner, name)
