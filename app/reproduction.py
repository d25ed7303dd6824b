"""Reproduction: the very state that gave an answer, made again from the log and asked again."""

import asyncio
from typing import NamedTuple

import msgspec

from app.entries import Served
from app.errors import NotReady, UnknownModel
from app.features import without_missing
from app.joining import unknown_prediction
from app.live import LiveModel, served_of
from app.predictions import Remembered
from app.replay import ReplayStopped, Source, aside, let_go, replay
from app.replica import Replica
from app.runtime import Runtime
from app.versions import Stamps, stamps_of
from learners.explanation import Explanation

_encoder = msgspec.json.Encoder()


class Reproduced(NamedTuple):
    """What was answered, what is answered `again` by the same state, and what drives that.

    They are `equal` to the last bit, or not; then the `stamps` may say what has changed.
    """

    remembered: Remembered
    again: Remembered
    equal: bool
    stamps: Stamps
    explanation: Explanation


async def reproduce(runtime: Runtime, replica: Replica, id: str) -> Reproduced:
    """Ask the state that answered this prediction again; one is made at a time.

    Raises `UnknownPrediction`, also of one that is expired; `UnknownModel` if it was deleted
    meanwhile; `LogUnavailable`; `NotReady`.
    """
    remembered = await runtime.predictions.find(replica.id, id)
    if remembered is None:
        raise unknown_prediction(replica.name, id)
    async with runtime.reproducing:
        try:
            return await asyncio.to_thread(_reproduced, runtime.applier.source(replica), remembered)
        except ReplayStopped:
            raise NotReady("This process is stopping. Ask another, or later.") from None


def _reproduced(source: Source, remembered: Remembered) -> Reproduced:
    with aside(stays=False):
        live = replay(source, until=remembered.offset).live
        try:
            if live.offset_applied < remembered.offset:
                name = source.registered.name
                raise UnknownModel(f"The model {name!r} was deleted meanwhile.")
            return _asked_again(live, remembered)
        finally:
            learners = (live.learner, live.champion)
            let_go([learner for learner in learners if learner is not None])


def _asked_again(live: LiveModel, remembered: Remembered) -> Reproduced:
    served = _served_again(live, remembered)
    again = Remembered(remembered.features, served, live.version, live.offset_applied)
    is_equal = (
        again.version == remembered.version
        and again.offset == remembered.offset
        and _encoder.encode(served) == _encoder.encode(remembered.served)
    )
    return Reproduced(remembered, again, is_equal, stamps_of(live), _explained(live, again))


def _explained(live: LiveModel, again: Remembered) -> Explanation:
    learner = live.learner if live.champion is None else live.champion
    if learner is None or again.served.fallback:
        return Explanation()
    x = dict(again.features if learner.keeps_null else without_missing(again.features))
    return learner.explain(x)


def _served_again(live: LiveModel, remembered: Remembered) -> Served:
    served = served_of(live.reply(remembered.features), remembered.served.at)
    if remembered.served.fallback and not served.fallback:
        # Its learner was being rebuilt at that moment, and only what the labels say answered.
        return served_of(live.fallback(), remembered.served.at)
    return served
