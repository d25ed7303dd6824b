"""Replay: a live model made anew from its log, beside the requests, in a thread.

    restart:             the newest version that loads ──▶ the entries behind it ──▶ the log's end
    the learner broke:   the last safe point ──▶ … ──▶ the entry before the broken one
                              │ (a new safe point)
                              └──▶ what came after it ──▶ the log's end
    a rollback:          the version ──▶ [since: what came after it, learned again]

A safe point is a live model's state kept in memory when its learner broke once, so that a second
time costs the entries since then. Safe points and versions are optimisations: they hold nothing
that the log does not, and without one that loads the replay begins at the model's creation.
"""

import gc
import logging
import sys
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Lock
from typing import NamedTuple

from app import entries, log, versions
from app.database import Database
from app.entries import Correction, Entry, Example, Features, Label, RolledBack, Swapped, Unfrozen
from app.errors import UnknownVersion, UnloadableVersion
from app.features import without_missing
from app.live import Broke, LiveModel, Prepared, Turn, Unprepared, keep, revive
from app.pace import Pace
from app.registry import Registered
from learners.learner import Learner, LearnerBroke
from learners.states import StateRefused

logger = logging.getLogger(__name__)

READ_CHUNK = 1_000
"""How many entries are read from the log, and held in memory, at once."""

SWITCH_SECONDS = 0.0005
"""For how long the thread that prepares a learner keeps the interpreter while others want it."""

PROGRESS_SECONDS = 5.0
"""How often a long replay says how far it is."""


class SafePoint(NamedTuple):
    """A live model's state. It is this process's own, and never leaves its memory."""

    offset: int
    state: bytes


class Replayed(NamedTuple):
    """A live model at its log's end; where to begin again if its learner breaks.

    `unrecorded` are offsets that broke its learner, and of which the log does not say so.
    """

    live: LiveModel
    unrecorded: list[int]
    safe_point: SafePoint | None


class Source(NamedTuple):
    """Whose log is replayed, from where; `stop` ends a replay that nobody waits for any more."""

    database: Database
    registered: Registered
    stop: Event


class ReplayStopped(Exception):
    """The process is stopping."""


def replay(
    source: Source,
    broke: Broke | None = None,
    safe_point: SafePoint | None = None,
    until: int | None = None,
) -> Replayed:
    """Build the model from its log, without the entry that broke its learner, if one did.

    It ends at the offset `until`, or at the log's end. Raises `LogUnavailable`, `ReplayStopped`;
    and whatever a bug raises, when the log cannot be applied.
    """
    known = _known_unlearnable(source)
    found: dict[int, str] = {}
    while True:
        before = None if until is None else until + 1
        if broke is not None:
            found[broke.offset] = broke.reason
            before = broke.offset if before is None else min(before, broke.offset)
        live = _begin(source, safe_point, {**found, **known}, before)
        try:
            if broke is not None and live.offset_applied < broke.offset - 1:
                _fold(source, live, broke.offset - 1)
                safe_point = _safe_point(live) or safe_point
            _fold(source, live, until)
        except Broke as again:
            broke = again
        else:
            unrecorded = [offset for offset in found if offset not in known]
            return Replayed(live, unrecorded, safe_point)


class Aside:
    """While threads make much: let others have the interpreter, look for no garbage.

    To look through a large learner again and again would take most of the time, and all of the
    interpreter. What it is made of refers to itself nowhere, so nothing is lost by never looking:
    not at what `stays`, and what does not must be let go of inside.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._seconds, self._was_enabled = 0.0, False

    @contextmanager
    def __call__(self, stays: bool = True) -> Iterator[None]:
        """Be in it; the last who leaves puts the interpreter back."""
        with self._lock:
            if not self._inside:
                self._seconds, self._was_enabled = sys.getswitchinterval(), gc.isenabled()
                sys.setswitchinterval(SWITCH_SECONDS)
                gc.disable()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if stays:
                    gc.freeze()
                if not self._inside:
                    if self._was_enabled:
                        gc.enable()
                    sys.setswitchinterval(self._seconds)


aside = Aside()


def ready(source: Source, live: LiveModel, entry: Turn) -> Prepared | None:
    """The learner with which a live model will go on at an entry, wherever that will stand.

    None if it depends on what comes until then. Raises `UnknownVersion`, `UnloadableVersion`.
    """
    if isinstance(entry, Unfrozen):
        return None
    with aside():
        first = _loaded(source, entry.version, Pace())
        if isinstance(entry, RolledBack) and entry.replay == "since":
            return None
        if live.created.versions.serve == "live":
            return Prepared(first.learner)
        if isinstance(entry, Swapped):
            return Prepared(None, first.learner)
        return Prepared(first.learner, _loaded(source, entry.version, Pace()).learner)


def prepare(source: Source, live: LiveModel, wanted: Unprepared) -> Prepared:
    """The learner with which a live model goes on at an entry. The model must not change meanwhile.

    Raises what `replay` raises.
    """
    with aside():
        return _prepare(source, live, wanted)


def _prepare(source: Source, live: LiveModel, wanted: Unprepared) -> Prepared:
    entry, until = wanted.entry, wanted.offset - 1
    if isinstance(entry, Unfrozen):
        state = keep(live)
        learner, labels = _relearned(
            source, lambda: revive(state, {}), (live.frozen_at or until, until), live.dropped
        )
        return Prepared(learner, None, labels)
    champion = None
    if live.created.versions.serve == "validated":
        champion = learner_at(source, entry.version, entry.version_offset).learner
        if isinstance(entry, Swapped):
            return Prepared(None, champion)
    is_since = isinstance(entry, RolledBack) and entry.replay == "since"
    after = entry.version_offset if is_since else until
    learner, labels = _relearned(
        source,
        lambda: learner_at(source, entry.version, entry.version_offset),
        (after, until),
        live.dropped,
    )
    return Prepared(learner, champion)


def let_go(learners: Sequence[Learner]) -> None:
    """Free learners that nobody else holds any more, a part at a time."""
    rest = Pace()
    for learner in learners:
        for _ in learner.parts():
            rest()


def learner_at(source: Source, number: int, offset: int) -> LiveModel:
    """The model as its version of this number is, or was: from its state, else from the log."""
    try:
        return _loaded(source, number, Pace())
    except (UnknownVersion, UnloadableVersion) as error:
        logger.info(
            "model %r: %s Its state is made again from the log.", source.registered.name, error
        )
    return replay(source, until=offset).live


def _loaded(source: Source, number: int, rest: Callable[[], None]) -> LiveModel:
    database = source.database
    with database.snapshot() as connection:
        version = versions.get(connection, source.registered.id, number)
        return versions.load(connection, database.secret, version, rest)


def _relearned(
    source: Source,
    begin: Callable[[], LiveModel],
    between: tuple[int, int],
    dropped: Container[int],
) -> tuple[Learner, list[Label | None]]:
    """A learner that learned again what stands behind the first offset, up to the second.

    What breaks it is left out; the labels of what it learned are told.
    """
    passed: set[int] = set()
    while True:
        learner = begin().learner
        if learner is None:
            raise RuntimeError("a state was kept without a learner")
        learned: list[Label | None] = []
        for offset, features, label in _examples(source, *between):
            if offset in dropped or offset in passed:
                continue
            try:
                learner.learn(features if learner.keeps_null else without_missing(features), label)
            except LearnerBroke:
                passed.add(offset)
                break
            learned.append(label)
        else:
            return learner, learned


def _examples(
    source: Source, after: int, until: int
) -> Iterator[tuple[int, Features, Label | None]]:
    """What was learned between two offsets, with the labels as they were corrected since."""
    corrected: dict[int, Correction] = {}
    for _, entry in _entries(source, after, until, "correction"):
        if isinstance(entry, Correction):
            corrected[entry.offset] = entry
    for offset, entry in _entries(source, after, until):
        if isinstance(entry, Example) and entry.learned:
            last = corrected.get(offset)
            label = entry.label if last is None else last.label
            if last is None or label is not None:
                yield offset, entry.features, label
        elif isinstance(entry, Correction) and entry.offset <= after and entry.features is not None:
            yield offset, entry.features, entry.label


def _entries(
    source: Source, after: int, until: int, kind: str | None = None
) -> Iterator[tuple[int, Entry]]:
    while after < until:
        if source.stop.is_set():
            raise ReplayStopped
        with source.database.snapshot() as connection:
            rows = log.read_bodies(
                connection, source.registered.id, after, min(READ_CHUNK, until - after)
            )
        for offset, _, body in rows:
            if kind is None or body.startswith(b'{"kind":"%s"' % kind.encode()):
                yield offset, entries.decode(body)
        if not rows:
            return
        after = rows[-1][0]


def _begin(
    source: Source, safe_point: SafePoint | None, dropped: dict[int, str], before: int | None
) -> LiveModel:
    """The newest state to begin with that is behind no entry from the offset `before` on."""
    database, registered = source.database, source.registered
    with database.snapshot() as connection:
        live = versions.newest_loadable(connection, database.secret, registered.id, before)
    if live is not None and (safe_point is None or live.offset_applied > safe_point.offset):
        live.dropped = dropped
        return live
    if safe_point is not None and (before is None or safe_point.offset < before):
        return revive(safe_point.state, dropped)
    return LiveModel(registered.created, registered.created_at, dropped)


def _safe_point(live: LiveModel) -> SafePoint | None:
    try:
        return SafePoint(live.offset_applied, keep(live))
    except StateRefused as error:
        logger.warning("model %r has no safe point: %s", live.created.name, error)
        return None


def _known_unlearnable(source: Source) -> dict[int, str]:
    with source.database.snapshot() as connection:
        bodies = log.unlearnable_bodies(connection, source.registered.id)
    found = [entries.decode(body) for body in bodies]
    return {e.offset: e.reason for e in found if isinstance(e, entries.Unlearnable)}


def _fold(source: Source, live: LiveModel, until: int | None) -> None:
    """Apply the log behind `live`, up to the offset `until` or its end."""
    began = told = time.monotonic()
    first = live.offset_applied
    while True:
        wanted = READ_CHUNK if until is None else min(READ_CHUNK, until - live.offset_applied)
        if source.stop.is_set():
            raise ReplayStopped
        with source.database.snapshot() as connection:
            rows = log.read_bodies(connection, source.registered.id, live.offset_applied, wanted)
        for offset, at, body in rows:
            entry = entries.decode(body)
            try:
                live.apply(offset, entry, at)
            except Unprepared as wanted:
                live.prepared[offset] = _prepare(source, live, wanted)
                live.apply(offset, entry, at)
                live.left.clear()
        now = time.monotonic()
        if now - told >= PROGRESS_SECONDS:
            told = now
            rate = (live.offset_applied - first) / (now - began)
            _tell(source, live.offset_applied, rate)
        if not rows:
            return


def _tell(source: Source, offset: int, rate: float) -> None:
    with source.database.snapshot() as connection:
        head = max(offset, log.head(connection, source.registered.id))
    logger.info(
        "model %r: replayed %s of %s entries (%d %%), %s entries a second",
        source.registered.name,
        f"{offset:,}",
        f"{head:,}",
        100 * offset // head,
        f"{rate:,.0f}",
    )
