"""Validation: whether a version may serve, and whether the live learner is worse than one that may.

A candidate is compared with *references*, valid versions that are older, on the examples that came
after them: the candidate's answers are those that it gave before it learned each example, and a
reference has learned none of them. So both are honest. Losses are wrong answers, or absolute errors
as shares of the reference's own mean.

The examples are looked at in blocks of `window`, of which each spends a part of what may be left to
chance: however often it is looked at, at the stated confidence no candidate that is as good as its
references is ever called worse. An older reference is there because a younger one may itself have
learned what it should not have.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.engine import Connection

from app import entries, log, versions
from app.confidence import PAIRS_MIN, Verdict, judge, spent
from app.entries import Example, Features, Label, Task, VersionRules
from app.errors import UnloadableVersion
from app.live import SCORED, LiveModel, Scored
from app.versions import Check, Version

logger = logging.getLogger(__name__)

ALPHA = 0.05
"""One less the confidence, over all references and all blocks."""

REFERENCES = 3
"""The newest valid version, and the newest that are one and two windows older."""

PARTS = (1, 2, 4, 8)
"""Into how many parts a block is divided: what is worse in a part may be hidden in the whole."""

LARGE_BYTES = 4_194_304
SLOW_MS = 1.0
"""Below these a learner may grow by any factor: a young one grows by many."""

FACTOR = 2.0
"""How much more than the champion a version may take, once it is large or slow."""


class Candidate(NamedTuple):
    """What is compared: the newest of its scored examples, and how many it had in all."""

    task: Task
    rules: VersionRules
    scored: Sequence[Scored]
    total: int


class Comparison(NamedTuple):
    """A candidate against a reference on one block of examples."""

    reference: int
    verdict: Verdict
    reference_loss: float

    def is_worse(self, tolerance: float) -> bool:
        """Whether the candidate is worse by more than may be."""
        return self.verdict.bound > tolerance

    def figures(self) -> dict[str, float | int | None]:
        """For people and programs."""
        bound = self.verdict.bound
        return {
            "reference": self.reference,
            "pairs": self.verdict.pairs,
            "reference_loss": self.reference_loss,
            "difference": self.verdict.difference,
            "bound": bound if math.isfinite(bound) else None,
        }


def candidate_of(live: LiveModel) -> Candidate:
    """What of a live model is compared. It may change afterwards."""
    return Candidate(
        live.created.task,
        live.created.versions,
        tuple(Scored(*one) for one in live.scored),
        live.scored_total,
    )


def references(
    known: Sequence[Version], total: int, window: int, before: int | None = None
) -> list[Version]:
    """Whom to compare with, of versions newest first: `before` is an offset that none reaches."""
    valid = [
        version
        for version in known
        if version.status == "valid" and version.state_id is not None and version.body is not None
        if before is None or version.offset < before
    ]
    found: list[Version] = []
    for windows in range(REFERENCES):
        older = (v for v in valid if v.body and v.body.scored <= total - windows * window)
        version = next(older, None)
        if version is not None and version not in found:
            found.append(version)
    return found


def compare(
    candidate: Candidate, reference: Version, answers: Mapping[int, Label | None]
) -> list[Comparison]:
    """A candidate against a reference, which gave these answers to the examples, by their offsets.

    There is one comparison for each block, half, quarter and eighth of one that has enough pairs.
    """
    body, rules = reference.body, candidate.rules
    if body is None:
        return []
    first = candidate.total - len(candidate.scored)
    is_cut = len(candidate.scored) == SCORED
    groups: dict[tuple[int, int, int], list[tuple[float, float]]] = {}
    for number, (offset, label, prediction) in enumerate(candidate.scored, first):
        other = answers.get(offset) if offset > reference.offset else None
        if other is None:
            continue
        pair = _loss(candidate.task, label, prediction), _loss(candidate.task, label, other)
        block, place = divmod(number, rules.window)
        for parts in PARTS:
            part = place * parts // rules.window
            begins = block * rules.window - (-part * rules.window // parts)
            # What has lost its beginning is another sequence than the one that was looked at.
            if begins >= first or not is_cut:
                groups.setdefault((block, parts, part), []).append(pair)
    born = body.scored // rules.window
    found = []
    for (block, _, _), pairs in groups.items():
        alpha = spent(ALPHA / REFERENCES, max(block - born + 1, 1)) / sum(PARTS)
        comparison = _judge(candidate.task, reference.number, pairs, alpha)
        if comparison is not None:
            found.append(comparison)
    return found


def _judge(
    task: Task, reference: int, pairs: Sequence[tuple[float, float]], alpha: float
) -> Comparison | None:
    if len(pairs) < PAIRS_MIN:
        return None
    mean = sum(theirs for _, theirs in pairs) / len(pairs)
    # What a tolerance is a share of: a wrong answer, or the reference's usual error.
    unit = mean if task == "regression" and mean > 0 else 1.0
    differences = [(mine - theirs) / unit for mine, theirs in pairs]
    if not all(map(math.isfinite, differences)):
        return None
    return Comparison(reference, judge(differences, alpha), mean)


def answers_of(
    live: LiveModel, scored: Sequence[Scored], observed: Mapping[int, Features]
) -> dict[int, Label | None]:
    """What a model answers to scored examples, by their offsets."""
    return {
        offset: live.own_answer(observed[offset]).prediction
        for offset, _, _ in scored
        if offset in observed
    }


def _loss(task: Task, label: Label, prediction: Label) -> float:
    if task == "regression":
        return abs(float(label) - float(prediction))
    return float(label != prediction)


def observations(
    connection: Connection, model_id: int, scored: Sequence[Scored]
) -> dict[int, Features]:
    """The features of scored examples, from the log."""
    found: dict[int, Features] = {}
    if not scored:
        return found
    after, end = scored[0].offset - 1, scored[-1].offset
    while after < end:
        rows = log.read_bodies(connection, model_id, after, min(1_000, end - after))
        if not rows:
            return found
        for offset, _, body in rows:
            entry = entries.decode(body)
            if isinstance(entry, Example):
                found[offset] = entry.features
        after = rows[-1][0]
    return found


def worst(
    connection: Connection, secret: bytes, candidate: Candidate, chosen: Sequence[Version]
) -> tuple[list[Comparison], Comparison | None]:
    """A candidate against references: all comparisons, and the one that it fails worst, if any."""
    found: list[Comparison] = []
    if not chosen or len(candidate.scored) < PAIRS_MIN:
        return found, None
    observed = observations(connection, chosen[0].model_id, candidate.scored)
    for reference in chosen:
        try:
            live = versions.load(connection, secret, reference)
        except UnloadableVersion as error:
            logger.warning("%s", error)
            continue
        found += compare(candidate, reference, answers_of(live, candidate.scored, observed))
    failed = [c for c in found if c.is_worse(candidate.rules.tolerance)]
    return found, min(failed, key=lambda c: c.reference_loss, default=None)


def validate(connection: Connection, secret: bytes, model_id: int, number: int) -> list[Check]:
    """The checks of a version. Raises `UnknownVersion`."""
    version = versions.get(connection, model_id, number)
    try:
        live = versions.load(connection, secret, version)
    except UnloadableVersion as error:
        return [Check("loads", False, error.message)]
    body = version.body
    if body is None:
        return [Check("loads", False, "What is stored of it is damaged.")]
    known = versions.page(connection, model_id)
    older = references(known, body.scored, live.created.versions.window, version.offset)
    checks = [
        Check("loads", True, "It loads: signature, digest, stamps and names are right."),
        Check(
            "golden",
            True,
            f"{len(body.golden)} golden predictions are answered as they were, to the last bit.",
            {"observations": len(body.golden)},
        ),
    ]
    checks.append(_finite(live))
    checks += _takes(version, live, older[0] if older else None)
    checks.append(_quality(connection, secret, live, older))
    return checks


def _finite(live: LiveModel) -> Check:
    broken = sum(live.reply(features).broke is not None for features in live.observations)
    total = len(live.observations)
    said = f"{total - broken} of {total} observations have an answer, and it is finite."
    # A learner may break on what a client sends; one that answers nothing is broken itself.
    return Check("finite", broken < total or not total, said, {"broken": broken, "of": total})


def _takes(version: Version, live: LiveModel, champion: Version | None) -> list[Check]:
    size, budget = _size(version), live.created.budget
    before = None if champion is None else _size(champion)
    return [
        _within(
            "memory",
            (size.memory_bytes, None if before is None else before.memory_bytes),
            (budget.bytes, LARGE_BYTES),
        ),
        _within(
            "predict_ms",
            (size.predict_ms, None if before is None else before.predict_ms),
            (budget.predict_ms, SLOW_MS),
        ),
    ]


def _within(name: str, taken: tuple[float, float | None], limits: tuple[float, float]) -> Check:
    """What a version takes, and its reference; what it may, and what is no matter at all."""
    (now, before), (most, least) = taken, limits
    said = f"It takes {now:,.4g} of {most:,.4g}"
    said += "." if before is None else f", and its reference {before:,.4g}."
    is_like_before = before is None or now <= max(FACTOR * before, least)
    figures = {"takes": now, "budget": most, "reference": before}
    return Check(name, now <= most and is_like_before, said, figures)


def _size(version: Version) -> versions.Size:
    if version.body is None:
        raise ValueError(f"version {version.number} is damaged")
    return version.body.size


def _quality(
    connection: Connection, secret: bytes, live: LiveModel, older: Sequence[Version]
) -> Check:
    if live.created.task == "anomaly":
        return Check("quality", True, "An anomaly detector's answers have no losses to compare.")
    candidate = candidate_of(live)
    found, failed = worst(connection, secret, candidate, older)
    if not found:
        return Check(
            "quality", True, "There is no valid version to compare with, or too few pairs."
        )
    told = failed or max(found, key=lambda c: c.verdict.pairs)
    return Check("quality", failed is None, sentence(told, candidate.rules), told.figures())


def sentence(comparison: Comparison, rules: VersionRules) -> str:
    """A comparison, in words."""
    verdict = comparison.verdict
    than = f"than version {comparison.reference} on {verdict.pairs:,} examples"
    if comparison.is_worse(rules.tolerance):
        return (
            f"Its loss is {verdict.difference:.4f} more {than}, and at least {verdict.bound:.4f} "
            f"more at 95 % confidence; {rules.tolerance:g} is tolerated."
        )
    return (
        f"Its loss is {verdict.difference:+.4f} more {than}; that it is worse by over "
        f"{rules.tolerance:g} is not shown at 95 % confidence."
    )
