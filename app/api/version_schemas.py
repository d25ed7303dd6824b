"""The bodies of the calls about versions, and of what is told to a model."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from app.api.policies import Budget, Schema, VersionRules

REASON_MAX = 1_000


class Stamps(Schema):
    """What a version was made with."""

    headrace: str
    river: str
    numpy: str
    python: str
    features: str = Field(description="A digest of the schema that it knows.")


class Size(Schema):
    """What the learner takes."""

    memory_bytes: int
    state_bytes: int
    stored_bytes: int = Field(description="Compressed.")
    predict_ms: float = Field(description="Of an answer: the median over its observations.")
    growth: float | None = Field(
        description="Bytes of memory per 1,000 examples, since the parent."
    )


class Check(Schema):
    """One check of a version."""

    name: str
    passed: bool
    detail: str = Field(description="A sentence for people.")
    figures: dict[str, float | int | None]


class Turn(Schema):
    """Something that was told to the model, and by whom."""

    offset: int
    at: datetime
    kind: str = Field(description="`swapped`, `rolled_back`, `frozen`, `unfrozen` or `changed`.")
    version: int = Field(description="The version that answered from then on.")
    reason: str
    by: str


class VersionBrief(Schema):
    """A version, in a list."""

    model: str
    number: int
    offset: int = Field(description="It had applied the log up to here.")
    at: datetime
    status: str = Field(description="`new`, `valid`, `invalid`, `serving` or `retired`.")
    pinned: bool = Field(description="It keeps its state until it is unpinned.")
    note: str
    kept: bool = Field(description="Whether its state is kept, so that it can be gone back to.")
    source: str | None = Field(description="`schedule`, `threshold`, `person` or `stop`.")
    parent: int | None = Field(description="The version that it came from; null is the creation.")
    examples: int | None = Field(description="Learned by then.")
    metrics: dict[str, float | None] | None = Field(description="Prequential, since the start.")


class VersionAnswer(VersionBrief):
    """A version with its checks and its lineage."""

    recent_metrics: dict[str, float | None] | None = Field(
        description="Prequential, over the last 1,000 scored examples."
    )
    learner: Any = Field(description="The spec.")
    stamps: Stamps | None
    size: Size | None
    golden: int | None = Field(description="How many observations it keeps with their answers.")
    checks: list[Check] | None = Field(description="Null before it was validated.")
    turns: list[Turn] = Field(description="When it came to answer, by whom, and why.")


class VersionPage(Schema):
    """Versions, newest first; `next` is what to send as `before` for more."""

    versions: list[VersionBrief]
    next: int | None


WITHOUT_NUL = r"^[^\x00]*$"
"""What a text is that any database can hold."""


class VersionChange(Schema):
    """What is to be changed of a version."""

    pinned: bool | None = None
    note: str | None = Field(None, max_length=10_000, pattern=WITHOUT_NUL)


class SwapRequest(Schema):
    """Which version is to be the champion."""

    version: int
    reason: str = Field("", max_length=REASON_MAX)


class RollbackRequest(Schema):
    """What the model is to continue from."""

    version: int | None = Field(None, description="The last valid one, if left out.")
    replay: Literal["none", "since"] = Field(
        "none", description="`since` learns again what came after the version."
    )
    reason: str = Field("", max_length=REASON_MAX)


class FreezeRequest(Schema):
    """Why nothing is to be learned."""

    reason: str = Field("", max_length=REASON_MAX)


class UnfreezeRequest(Schema):
    """Whether what came meanwhile is to be learned, before what comes."""

    learn: bool = Field(description="Learn what came meanwhile, or skip it.")
    reason: str = Field("", max_length=REASON_MAX)


class ModelChange(Schema):
    """What is to be changed of a model; what is left out stays."""

    description: str | None = Field(None, max_length=10_000)
    versions: VersionRules | None = Field(None, description="All of its rules for versions.")
    budget: Budget | None = None
    reason: str = Field("", max_length=REASON_MAX)


class Worker(Schema):
    """What a process that serves said of the model."""

    worker: str
    version: int = Field(description="The version that it serves.")
    obeys: bool = Field(description="Whether it obeys the turn; false if that took too long.")


class TurnAnswer(Schema):
    """What the model goes on with, from which offset on."""

    model: str
    offset: int = Field(description="Of the entry that says so.")
    version: int = Field(description="The version that answers, or that the learner goes on from.")
    frozen: str | None = Field(description="Why nothing is learned; null if all is.")
    workers: list[Worker] = Field(description="What each process that serves said.")
