"""The rules that a model is created with, and those of them that can be changed: their schemas."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app import entries


class Schema(BaseModel):
    """A body that takes no field it does not know."""

    model_config = ConfigDict(extra="forbid")


class LabelRules(Schema):
    """What holds of labels that come late, twice, too early or never."""

    wait_seconds: float = Field(
        604_800.0, gt=0, le=315_360_000, description="After it, a label is late."
    )
    default: bool | int | float | str | None = Field(
        None, description="The label that is learned when none came in time; null is none."
    )
    late: Literal["learn", "record", "refuse"] = Field(
        "learn",
        description="A label that is late is learned, or scored and not learned, or refused.",
    )
    duplicates: Literal["refuse", "first", "correct"] = Field(
        "refuse",
        description="A second label is refused, or the first is kept, or the metrics count the "
        "second from then on.",
    )
    early_seconds: float = Field(
        5.0, ge=0, le=60, description="How long a label waits for its prediction to be made."
    )


class SnapshotRules(Schema):
    """When a version is made by itself, if something was learned; null is never."""

    every_seconds: float | None = Field(600.0, ge=1, le=31_536_000)
    every_examples: int | None = Field(1_000, ge=1, le=2**53)


class VersionRules(Schema):
    """How versions are made, validated and served."""

    snapshot: SnapshotRules = Field(default_factory=SnapshotRules)
    serve: Literal["live", "validated"] = Field(
        "live",
        description="Answers come from the learner as of the last feedback, or from the newest "
        "version that was found valid.",
    )
    auto_swap: bool = Field(
        True, description="With `validated`: a version found valid answers from then on."
    )
    on_invalid: Literal["alert", "freeze", "rollback"] = Field(
        "alert", description="What is done when the live learner is worse than a valid version."
    )
    window: int = Field(
        1_000, ge=100, le=1_000, description="Scored examples that are compared at once."
    )
    tolerance: float = Field(
        0.02,
        ge=0,
        le=1,
        description="By how much it may be worse: of the share of wrong answers; for regression of "
        "the mean absolute error, as a share of it.",
    )

    def entry(self) -> entries.VersionRules:
        """As it stands in the log."""
        return entries.VersionRules(
            entries.SnapshotRules(**self.snapshot.model_dump()),
            **self.model_dump(exclude={"snapshot"}),
        )


class Budget(Schema):
    """What the learner may take; over it nothing more is learned."""

    bytes: int = Field(268_435_456, ge=1_024, le=2**53, description="Of memory.")
    predict_ms: float = Field(50.0, gt=0, le=60_000, description="Of an answer.")

    def entry(self) -> entries.Budget:
        """As it stands in the log."""
        return entries.Budget(**self.model_dump())
