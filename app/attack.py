"""An attack on a model of the demonstration: its detection, and the rollback that undoes it.

A model learns which pages are phishing, and is told to go back by itself (`on_invalid`). Then one
source sends a thousand pages with the wrong label. When right labels come again, the service finds
its learner worse than a version from before, and continues from that.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import Any

import click

from app.client import Client, HeadraceError
from app.progress import Progress
from learners.evaluation import rows

MODEL = "attacked"
LEARNER = ["preprocessing.StandardScaler", "linear_model.LogisticRegression"]
RULES = {"snapshot": {"every_seconds": None, "every_examples": 1_000}, "on_invalid": "rollback"}
CLEAN, POISON, CHUNK = 3_000, 1_000, 100
SECONDS_MAX = 120.0

Example = tuple[dict[str, Any], bool]


def attack(url: str) -> bool:
    """Attack a model at a service; whether it came back to what it was, by itself."""
    with Client(url) as client:
        for job in ("find_due", "watch"):
            client.change_schedule(job, every_seconds=1)
        client.create_model(MODEL, "binary", LEARNER, versions=RULES)
        pages: list[Example] = [(dict(x), bool(y)) for x, y in rows("Phishing")]
        stream = cycle(pages)
        bar = Progress("attack", "pages", CLEAN + POISON)
        for _ in range(CLEAN // 1_000):
            _teach(client, islice(stream, 1_000), bar)
            _valid(client)
        before = _accuracy(client, pages)
        _teach(client, ((x, not y) for x, y in islice(stream, POISON)), bar)
        during = _accuracy(client, pages)
        turned = _rolled_back(client, stream, bar)
        after = _accuracy(client, pages)
        bar.close()
    click.echo(f"\n{MODEL}: {POISON:,} pages with wrong labels, from one source\n")
    for when, share in (("before", before), ("during", during), ("after", after)):
        click.echo(f"  accuracy {when:<8}{share:.4f}")
    click.echo(f"\n  {turned or 'It was not rolled back.'}")
    return turned is not None and after > before - 0.05


def _teach(client: Client, examples: Iterator[Example], bar: Progress) -> None:
    items = [{"features": x, "label": y} for x, y in examples]
    for answer in client.feedback_many(MODEL, items):
        if isinstance(answer, HeadraceError):
            raise answer
        bar.step()


def _accuracy(client: Client, pages: Sequence[Example]) -> float:
    asked = client.predict_many(MODEL, [{"features": x} for x, _ in pages])
    answers = [getattr(answer, "prediction", None) for answer in asked]
    right = sum(bool(a == y) for a, (_, y) in zip(answers, pages, strict=True))
    return right / len(pages)


def _valid(client: Client) -> None:
    """Wait until there is a version of what was learned, and it is validated."""
    learned = client.model(MODEL).counts.examples
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        found = next(client.versions(MODEL), None)
        if found is not None and found.examples == learned and found.status != "new":
            return
        time.sleep(0.2)


def _rolled_back(client: Client, stream: Iterator[Example], bar: Progress) -> str | None:
    """Send right labels again, until the model was rolled back: why it was."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        _teach(client, islice(stream, CHUNK), bar)
        entries = [e for e in client.log(MODEL, after=CLEAN + POISON) if e.kind == "rolled_back"]
        if entries:
            told = entries[0].fields
            return f"Rolled back to version {told['version']} by {told['by']}. {told['reason']}"
        time.sleep(0.5)
    return None
