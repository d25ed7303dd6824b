"""Replay: a live model made anew from its log, beside the requests, in a thread.

    restart:             creation ──▶ entry 2, 3, … ──▶ the log's end
    the learner broke:   the last safe point ──▶ … ──▶ the entry before the broken one
                              │ (a new safe point)
                              └──▶ what came after it ──▶ the log's end

A safe point is a live model's state kept in memory when its learner broke once, so that a second
time costs the entries since then and not the whole log. It is an optimisation: without one, or
where River's state has no form as bytes, the replay begins at the creation.
"""

import logging
import time
from threading import Event
from typing import NamedTuple

from app import entries, log
from app.database import Database
from app.entries import Created, LabelRules
from app.live import Broke, LiveModel
from app.monitoring import Monitor
from app.registry import Registered
from learners.states import StateRefused, dump, load

logger = logging.getLogger(__name__)

READ_CHUNK = 1_000
"""How many entries are read from the log, and held in memory, at once."""

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
) -> Replayed:
    """Build the model from its log, without the entry that broke its learner, if one did.

    Raises `LogUnavailable`, `ReplayStopped`; and whatever a bug raises, when the log cannot be
    applied.
    """
    known = _known_unlearnable(source)
    found: dict[int, str] = {}
    while True:
        if broke is not None:
            found[broke.offset] = broke.reason
        live = _begin(source.registered, safe_point, {**found, **known})
        try:
            if broke is not None and live.offset_applied < broke.offset - 1:
                _fold(source, live, broke.offset - 1)
                safe_point = _safe_point(live) or safe_point
            _fold(source, live, None)
        except Broke as again:
            broke = again
        else:
            unrecorded = [offset for offset in found if offset not in known]
            return Replayed(live, unrecorded, safe_point)


def _begin(
    registered: Registered, safe_point: SafePoint | None, dropped: dict[int, str]
) -> LiveModel:
    if safe_point is None:
        return LiveModel(registered.created, registered.created_at, dropped)
    live: LiveModel = load(safe_point.state, own=(LiveModel, Monitor, Created, LabelRules))
    live.dropped = dropped
    return live


def _safe_point(live: LiveModel) -> SafePoint | None:
    try:
        return SafePoint(live.offset_applied, dump(live))
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
            live.apply(offset, entries.decode(body), at)
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
