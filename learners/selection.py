"""Choosing and renaming features, in the observation's own order.

River's `compose.Select` walks a set, so that the order of its output, and with it the last bits
of every sum behind it, hang on the hash seed. The transformers here keep the order in which the
features came, never raise for an absent one, and know that a boolean is not a number.
"""

from __future__ import annotations

from typing import Any

from river import base

VALUE_TYPES: dict[str, tuple[type, ...]] = {
    "number": (int, float),
    "boolean": (bool,),
    "category": (str,),
    "text": (str,),
}


def is_of_type(value: object, name: str) -> bool:
    """Whether a feature's value has the type `name`; a boolean is not a number.

    Examples
    --------
    >>> is_of_type(1.5, "number"), is_of_type(True, "number"), is_of_type(True, "boolean")
    (True, False, True)

    """
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, VALUE_TYPES[name])


class Selection(base.Transformer):
    """What `Select` and `Discard` share: deciding whether a feature is meant.

    Parameters
    ----------
    names
        Features meant by name.
    prefixes
        Features meant by how their name begins.
    types
        Features meant by the type of their value: `number`, `boolean`, `category` or `text`. The
        last two are both strings: name the features to tell them apart.

    """

    def __init__(
        self,
        names: list[str] | None = None,
        prefixes: list[str] | None = None,
        types: list[str] | None = None,
    ) -> None:
        self.names = names
        self.prefixes = prefixes
        self.types = types
        self._names = frozenset(names or ())
        self._prefixes = tuple(prefixes or ())

    def _is_meant(self, name: str, value: object) -> bool:
        if name in self._names or (self._prefixes and name.startswith(self._prefixes)):
            return True
        return any(is_of_type(value, type_name) for type_name in self.types or ())


class Select(Selection):
    """Keeps the features that are meant, in the observation's order.

    Examples
    --------
    >>> Select(names=["b", "a"]).transform_one({"a": 1, "c": 2, "b": 3})
    {'a': 1, 'b': 3}
    >>> Select(types=["number"]).transform_one({"a": True, "c": 2})
    {'c': 2}

    """

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        return {name: value for name, value in x.items() if self._is_meant(name, value)}


class Discard(Selection):
    """Leaves out the features that are meant, and keeps the others in the observation's order.

    Examples
    --------
    >>> Discard(prefixes=["id_"]).transform_one({"id_user": 7, "c": 2})
    {'c': 2}

    """

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        return {name: value for name, value in x.items() if not self._is_meant(name, value)}


class Renamer(base.Transformer):
    """Gives features other names, where they are there; renamed ones come last, as in River.

    Parameters
    ----------
    mapping
        The new name of each feature.

    Examples
    --------
    >>> Renamer({"a": "z", "b": "y"}).transform_one({"a": 1, "c": 2})
    {'c': 2, 'z': 1}

    """

    def __init__(self, mapping: dict[str, str]) -> None:
        self.mapping = mapping

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        renamed = dict(x)
        for old, new in self.mapping.items():
            if old in renamed:
                renamed[new] = renamed.pop(old)
        return renamed
