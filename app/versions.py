"""Versions: what a model was at an offset, with its state, kept so that it can be gone back to.

    live model ──take──▶ state (dumped, compressed) + body (scores, golden predictions, stamps)
                                 │ signed with the installation's secret
                         save ──▶ tables `version_states` (in parts), `versions`
                         load ──▶ signature? state whole? stamps ours? golden predictions equal?

A state is read back only if all of these hold: a version is never half-trusted. Where it is not
loaded, an older one is, or the log is replayed: no version holds what its log does not.
"""

import asyncio
import hmac
import logging
import platform
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b, sha256
from importlib.metadata import version as installed
from statistics import median
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
import zstandard
from sqlalchemy.engine import Connection
from uuid_utils import uuid7

from app import __version__
from app.database import Database
from app.entries import Features, Label
from app.errors import UnknownVersion, UnloadableVersion
from app.live import LiveModel, keep, revive
from app.pace import hurry
from app.retention import DAY_US, Kept, surplus
from app.tables import named, version_states, versions
from learners.states import StateRefused, lean

logger = logging.getLogger(__name__)

Source = Literal["schedule", "threshold", "person", "stop"]
Status = Literal["new", "valid", "invalid"]
Guard = Callable[[Connection], None]
"""Raises inside a transaction what keeps it from being committed."""

PART_BYTES = 1_048_576
"""How much of a state is written in one transaction: others write in between."""

TRIED_MAX = 5
"""How many versions a restart tries to load before it replays the log from its beginning."""

SIGNATURE_BYTES = 32
PAGE = 1_000


class Golden(msgspec.Struct, frozen=True):
    """An observation, and what the version's learner answers to it."""

    features: Features
    prediction: Label | None
    probabilities: list[tuple[Label, float]] | None
    score: float | None


class Stamps(msgspec.Struct, frozen=True):
    """What a version was made with; `features` is a digest of the schema that it knows."""

    headrace: str
    river: str
    numpy: str
    python: str
    features: str


class Size(msgspec.Struct, frozen=True):
    """What a learner takes: bytes of memory, and of its state, plain and as stored; milliseconds of
    an answer. `growth` is by how many bytes of memory 1,000 examples made it grow since its parent.
    """

    memory_bytes: int
    state_bytes: int
    stored_bytes: int
    predict_ms: float
    growth: float | None = None


class Body(msgspec.Struct, frozen=True):
    """What a version was when it was made. `parent` is the version that it came from."""

    source: Source
    parent: int | None
    examples: int
    scored: int
    learner: Any
    metrics: dict[str, float | None]
    recent: dict[str, float | None]
    golden: list[Golden]
    stamps: Stamps
    size: Size
    sha256: str


class Check(msgspec.Struct, frozen=True):
    """One check of a version: its figures, and a sentence."""

    name: str
    passed: bool
    detail: str
    figures: dict[str, float | int | None] = {}


class Version(NamedTuple):
    """A version as it is stored. `state_id` is None once its state is no longer kept.

    `body` is None if what is stored of it is damaged.
    """

    model_id: int
    number: int
    offset: int
    at: int
    status: Status
    pinned: bool
    note: str
    state_id: str | None
    body: Body | None
    checks: list[Check] | None


class Taken(NamedTuple):
    """A version that is not saved yet: its stored size and its digest are still open."""

    offset: int
    plain: bytes
    body: Body


_encoder = msgspec.json.Encoder()
_bodies = msgspec.json.Decoder(Body)
_checks = msgspec.json.Decoder(list[Check])
_COLUMNS = tuple(versions.c[name] for name in Version._fields)


def take(live: LiveModel, source: Source, parent: Version | None) -> Taken:
    """What a live model is, as a version. Raises `learners.states.StateRefused`.

    The model must not change meanwhile.
    """
    plain = keep(live)
    learner = live.learner
    if learner is None:
        raise StateRefused("its learner is being rebuilt")
    golden, seconds = [], []
    for features in live.observations:
        began = time.perf_counter()
        golden.append(_golden(live, features))
        seconds.append(time.perf_counter() - began)
    memory = learner.memory_bytes()
    milliseconds = 1_000 * median(seconds) if seconds else 0.0
    growth = _growth(live, memory, parent)
    size = Size(memory, len(plain), 0, milliseconds, growth)
    body = Body(
        source,
        None if parent is None else parent.number,
        live.monitor.examples,
        live.scored_total,
        live.created.learner,
        learner.scores.figures(),
        learner.scores.recent_figures(),
        golden,
        stamps_of(live),
        size,
        "",
    )
    return Taken(live.offset_applied, plain, body)


def _packed(taken: Taken) -> tuple[bytes, Body]:
    """A version's state and body as they are stored."""
    state = zstandard.ZstdCompressor(level=1).compress(lean(taken.plain))
    size = msgspec.structs.replace(taken.body.size, stored_bytes=len(state))
    digest = sha256(state).hexdigest()
    return state, msgspec.structs.replace(taken.body, size=size, sha256=digest)


def _growth(live: LiveModel, memory: int, parent: Version | None) -> float | None:
    if parent is None or parent.body is None:
        return None
    more = live.monitor.examples - parent.body.examples
    return 1_000 * (memory - parent.body.size.memory_bytes) / more if more > 0 else None


def stamps_of(live: LiveModel) -> Stamps:
    """What a version of this model would be made with, here and now."""
    schema = blake2b(_encoder.encode(sorted(live.types.items())), digest_size=8).hexdigest()
    return Stamps(
        __version__, installed("river"), installed("numpy"), platform.python_version(), schema
    )


async def save(
    database: Database, model_id: int, taken: Taken, at: int, guard: Guard = lambda _: None
) -> Version:
    """Keep a version, in transactions that are short; it is there with the last of them."""
    state_id = str(uuid7())
    state, body = await asyncio.to_thread(_packed, taken)
    for part, begin in enumerate(range(0, len(state), PART_BYTES)):
        row = {"state_id": state_id, "part": part, "model_id": model_id, "at": at}
        row["state"] = state[begin : begin + PART_BYTES]
        await database.write(lambda c, r=row: c.execute(sa.insert(version_states), r))  # type: ignore[misc]
    encoded = _encoder.encode(body)
    signature = _signature(database.secret, model_id, taken.offset, state_id, encoded)

    def work(connection: Connection) -> int:
        guard(connection)
        newest = sa.select(sa.func.max(versions.c.number)).where(versions.c.model_id == model_id)
        number = (connection.execute(newest).scalar() or 0) + 1
        row = {"model_id": model_id, "number": number, "offset": taken.offset, "at": at}
        row |= {"status": "new", "pinned": False, "note": "", "state_id": state_id}
        connection.execute(sa.insert(versions), {**row, "body": signature + encoded})
        _prune(connection, model_id, at)
        return number

    number = await database.write(work)
    return Version(model_id, number, taken.offset, at, "new", False, "", state_id, body, None)


def load(
    connection: Connection, secret: bytes, version: Version, rest: Callable[[], None] = hurry
) -> LiveModel:
    """The live model that a version is of. Raises `UnloadableVersion`, saying what is wrong.

    `rest` is called again and again meanwhile.
    """
    body, data = _checked(connection, secret, version)
    try:
        live = revive(zstandard.ZstdDecompressor().decompress(data), {}, rest)
    except (StateRefused, zstandard.ZstdError) as error:
        raise _unloadable(version, str(error)) from None
    made, here = body.stamps, stamps_of(live)
    for name in ("river", "numpy", "python"):
        if getattr(made, name) != getattr(here, name):
            raise _unloadable(
                version,
                f"it was made with {name} {getattr(made, name)}, and this is {getattr(here, name)}",
            )
    different = 0
    for golden in body.golden:
        rest()
        different += _encoder.encode(_golden(live, golden.features)) != _encoder.encode(golden)
    if different:
        total = len(body.golden)
        raise _unloadable(
            version, f"{different} of its {total} golden predictions are answered otherwise here"
        )
    return live


def newest_loadable(
    connection: Connection, secret: bytes, model_id: int, before: int | None
) -> LiveModel | None:
    """The newest version that can be loaded, if any; `before` is an offset that it must not reach.

    Of each that cannot be loaded it is logged why.
    """
    query = _of(model_id).where(versions.c.state_id.is_not(None)).limit(TRIED_MAX)
    if before is not None:
        query = query.where(versions.c.offset < before)
    for row in connection.execute(query.order_by(versions.c.number.desc())).all():
        try:
            return load(connection, secret, _version(row))
        except UnloadableVersion as error:
            logger.warning("%s", error)
    return None


def get(connection: Connection, model_id: int, number: int) -> Version:
    """A version by its number. Raises `UnknownVersion`."""
    row = connection.execute(_of(model_id).where(versions.c.number == named(number))).one_or_none()
    if row is None:
        raise UnknownVersion(
            f"There is no version {number} of this model. GET /v1/models/…/versions lists them."
        )
    return _version(row)


def page(
    connection: Connection, model_id: int, before: int | None = None, limit: int = PAGE
) -> list[Version]:
    """The versions with numbers under `before`, newest first."""
    query = _of(model_id).order_by(versions.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(versions.c.number < named(before))
    return [_version(row) for row in connection.execute(query).all()]


class Newest(NamedTuple):
    """A model's newest version: when it was made, and how many examples it had learned."""

    number: int
    at: int
    examples: int


def newest(connection: Connection) -> dict[int, Newest]:
    """The newest version of each model, by the model's number."""
    numbers = sa.select(versions.c.model_id, sa.func.max(versions.c.number).label("number"))
    last = numbers.group_by(versions.c.model_id).subquery()
    both = sa.and_(versions.c.model_id == last.c.model_id, versions.c.number == last.c.number)
    query = sa.select(*_COLUMNS).select_from(versions.join(last, both))
    found = {}
    for row in connection.execute(query):
        version = _version(row)
        examples = 0 if version.body is None else version.body.examples
        found[version.model_id] = Newest(version.number, version.at, examples)
    return found


def change(connection: Connection, model_id: int, number: int, **values: Any) -> None:
    """Change what may change of a version: `pinned`, `note`, `status`, `checks`."""
    if values.get("checks") is not None:
        values["checks"] = _encoder.encode(values["checks"])
    if values:
        where = (versions.c.model_id == model_id, versions.c.number == number)
        connection.execute(sa.update(versions).where(*where).values(values))


def sweep(connection: Connection, now: int) -> int:
    """Remove parts of states that no version has, left by a process that was killed."""
    known = sa.select(versions.c.state_id).where(versions.c.state_id.is_not(None))
    where = (version_states.c.at < now - DAY_US, version_states.c.state_id.not_in(known))
    return connection.execute(sa.delete(version_states).where(*where)).rowcount


def _prune(connection: Connection, model_id: int, now: int) -> None:
    columns = (versions.c.number, versions.c.at, versions.c.status, versions.c.pinned)
    mine = (versions.c.model_id == model_id, versions.c.state_id.is_not(None))
    query = sa.select(*columns).where(*mine).order_by(versions.c.number.desc())
    numbers = surplus([Kept(*row) for row in connection.execute(query)], now)
    if not numbers:
        return
    where = (versions.c.model_id == model_id, versions.c.number.in_(numbers))
    ids = connection.execute(sa.select(versions.c.state_id).where(*where)).scalars().all()
    connection.execute(sa.delete(version_states).where(version_states.c.state_id.in_(ids)))
    connection.execute(sa.update(versions).where(*where).values(state_id=None))


def _checked(connection: Connection, secret: bytes, version: Version) -> tuple[Body, bytes]:
    """What a version was, and its state, when the signature and the digest are right."""
    if version.state_id is None:
        raise _unloadable(version, "its state is no longer kept")
    query = sa.select(versions.c.body).where(
        versions.c.model_id == version.model_id, versions.c.number == version.number
    )
    signed = connection.execute(query).scalar() or b""
    signature, encoded = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
    wanted = _signature(secret, version.model_id, version.offset, version.state_id, encoded)
    if version.body is None or not hmac.compare_digest(signature, wanted):
        raise _unloadable(
            version, "its signature is not this installation's: it was changed, or made elsewhere"
        )
    parts = sa.select(version_states.c.state).where(version_states.c.state_id == version.state_id)
    rows = connection.execute(parts.order_by(version_states.c.part)).scalars()
    state = b"".join(rows)
    if sha256(state).hexdigest() != version.body.sha256:
        raise _unloadable(version, "its state is damaged: its SHA-256 is another one")
    return version.body, state


def _signature(secret: bytes, model_id: int, offset: int, state_id: str, body: bytes) -> bytes:
    said = f"headrace version {model_id} {offset} {state_id} ".encode() + body
    return hmac.digest(secret, said, "sha256")


def _golden(live: LiveModel, features: Features) -> Golden:
    answer = live.own_answer(features)
    pairs = None if answer.probabilities is None else list(answer.probabilities.items())
    return Golden(features, answer.prediction, pairs, answer.score)


def _of(model_id: int) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).where(versions.c.model_id == model_id)


def _version(row: Sequence[Any]) -> Version:
    fields = dict(zip(Version._fields, row, strict=True))
    try:
        fields["body"] = _bodies.decode(fields["body"][SIGNATURE_BYTES:])
    except msgspec.DecodeError:
        fields["body"] = None
    if fields["checks"] is not None:
        fields["checks"] = _checks.decode(fields["checks"])
    return Version(**fields)


def _unloadable(version: Version, why: str) -> UnloadableVersion:
    return UnloadableVersion(
        f"Version {version.number} (offset {version.offset:,}) cannot be loaded: {why}. Take "
        "another version; the log has all that it had."
    )
