"""Every setting: its name, its default, one sentence. Read once, at start, from the environment.

The variable of a setting is its name in capitals behind `HEADRACE_`; a `.env` file in the working
directory is read too, and the environment wins.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import InvalidSettings, Problem

PREFIX = "HEADRACE_"
ELSEWHERE = frozenset({"HEADRACE_URL"})
"""Variables that are no settings of the service, and no mistakes: the command line reads them."""


class Settings(BaseSettings):
    """What an operator may set. The descriptions are the reference page's text."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    database_url: str = Field(
        "sqlite:///headrace.db", description="Where the log is kept, as an SQLAlchemy URL."
    )
    database_busy_ms: int = Field(
        2_000, ge=1, le=60_000, description="How long a write waits for another process's write."
    )
    secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="Signs the states of versions; one in the database if left out.",
    )
    log_level: str = Field(
        "info",
        pattern="^(debug|info|warning|error)$",
        description="From which level on operations are logged.",
    )
    body_bytes_max: int = Field(
        1_048_576, ge=1_024, description="The largest body of a request, in bytes."
    )
    body_seconds_max: float = Field(
        30.0, gt=0, description="How long a body may take to arrive, in seconds."
    )
    bodies_bytes_max: int = Field(
        67_108_864, ge=1_024, description="All bodies being worked on together, in bytes."
    )
    connections_max: int = Field(
        1_000, ge=1, description="Connections open at once; one more is answered 503 and closed."
    )
    keep_alive_seconds: int = Field(
        75, ge=1, description="How long an idle connection is kept, in seconds."
    )
    requests_max: int = Field(512, ge=1, description="Requests worked on at once.")
    append_queue_max: int = Field(
        4_096, ge=1, description="Entries waiting to be made durable and applied."
    )
    append_batch_max: int = Field(
        512, ge=1, le=10_000, description="Entries made durable in one transaction."
    )
    feedback_seconds_max: float = Field(
        30.0,
        gt=0,
        description="How long feedback waits to be durable, and then to be learned, in seconds.",
    )
    min_offset_seconds_max: float = Field(
        2.0, gt=0, le=60, description="How long predict waits to know its min_offset, in seconds."
    )
    batch_items_max: int = Field(
        1_000, ge=1, description="Items of a batch that is sent as one JSON body."
    )
    stream_line_bytes_max: int = Field(
        1_048_576, ge=1_024, description="The longest line of a stream, in bytes."
    )
    stream_answers_bytes_max: int = Field(
        268_435_456,
        ge=65_536,
        description="Answers of a stream that wait on disk for a client that reads late, in bytes.",
    )
    streams_answers_bytes_max: int = Field(
        1_073_741_824,
        ge=0,
        description="Such answers of all streams together, beyond the first 4 MiB of each.",
    )
    streams_max: int = Field(128, ge=1, description="Streams that are open at once.")
    models_max: int = Field(10_000, ge=1, description="Models in one service.")
    features_max: int = Field(
        10_000, ge=2, description="An observation with this many features or more is refused."
    )
    features_known_max: int = Field(
        100_000, ge=1, description="Feature names that one model may come to know."
    )
    classes_max: int = Field(
        10_000, ge=2, description="Different labels that one multiclass model may come to know."
    )
    number_magnitude_max: float = Field(
        1e15, gt=0, le=1e300, description="Numeric features beyond ± this are refused."
    )
    predictions_keep_seconds: int = Field(
        604_800,
        ge=1,
        description="How long a prediction is remembered after its label was due, in seconds.",
    )
    predictions_memory_bytes_max: int = Field(
        67_108_864, ge=65_536, description="Predictions kept in memory, in bytes."
    )
    predictions_write_ms: int = Field(
        50, ge=1, le=100, description="How often predictions are written behind the answers."
    )
    tail_poll_seconds: float = Field(
        1.0, gt=0, le=60, description="How often the log is asked for other processes' entries."
    )
    join_seconds_max: float = Field(
        0.0,
        ge=0,
        description="How long a process waits to hold all models before it takes requests.",
    )
    ready_lag_max: int = Field(
        10_000, ge=0, description="With how many entries to apply a process still says it is ready."
    )
    jobs: Literal["beside", "inside", "none"] = Field(
        "beside",
        description="Jobs run in a process beside the server, inside it, or not with it.",
    )
    jobs_children_max: int = Field(
        2, ge=1, le=64, description="Long jobs that run at once, each in a process of its own."
    )
    stop_seconds_max: int = Field(
        20, ge=1, description="How long a stop waits for requests in flight, in seconds."
    )


def load_settings() -> Settings:
    """The settings of this process.

    Raises `InvalidSettings`, naming each variable that is wrong and why.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [
            Problem(
                PREFIX + "_".join(str(part) for part in item["loc"]).upper(),
                item["msg"] + _shown(item),
            )
            for item in error.errors()
        ]
        lines = "; ".join(f"{problem.place}: {problem.reason}" for problem in problems)
        raise InvalidSettings(
            f"{lines}. Mend or unset it, in the environment or in .env.", problems
        ) from None


def _shown(item: Mapping[str, Any]) -> str:
    """What was given, unless it is a secret."""
    return "" if item["loc"] == ("secret",) else f", and is {item.get('input')!r}"


def unknown_variables(environment: Iterable[str] | None = None) -> dict[str, str | None]:
    """Variables that look like settings and are none, each with the nearest setting's variable."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | ELSEWHERE
    names = {*os.environ, *dotenv_values(".env")} if environment is None else environment
    strange = sorted(
        name
        for name in names
        if name.startswith(PREFIX) and name not in known and not name.startswith(PREFIX + "TEST_")
    )
    return {
        name: next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), None)
        for name in strange
    }
