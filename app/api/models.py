"""Models: create, list, look at, delete; their metrics, logs and predictions."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from app import entries
from app.api import policies, schemas
from app.api.deps import ModelHere, RuntimeHere
from app.joining import unknown_prediction
from app.log import Row
from app.monitoring import Monitor
from app.predictions import Remembered
from app.replica import Replica
from app.reproduction import reproduce
from app.serving import prediction_of

router = APIRouter(prefix="/v1/models", tags=["models"])
PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": schemas.Problem} for code in (404, 409, 413, 422, 429, 503)
}


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a call may answer, for OpenAPI."""
    return {code: PROBLEMS[code] for code in codes}


@router.post("", status_code=201, responses=responses(409, 413, 422, 429, 503))
async def create_model(request: schemas.ModelRequest, runtime: RuntimeHere) -> schemas.ModelAnswer:
    """Create a model: it answers from the next call on."""
    wanted = entries.Created(
        request.name,
        request.task,
        request.learner,
        [],
        request.features,
        request.fallback,
        request.description,
        entries.LabelRules(**request.labels.model_dump()),
        request.versions.entry(),
        request.budget.entry(),
    )
    return model_answer(await runtime.create(wanted, request.metrics))


@router.get("", responses=responses(422))
async def list_models(
    runtime: RuntimeHere,
    after: Annotated[str, Query(description="The name behind which to go on.")] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> schemas.ModelPage:
    """List the models, by name."""
    replicas = [replica for replica in runtime.replicas() if replica.name > after]
    page = replicas[:limit]
    following = page[-1].name if len(replicas) > limit else None
    return schemas.ModelPage(models=[model_brief(r) for r in page], next=following)


@router.get("/{model}", responses=responses(404, 503))
async def show_model(replica: ModelHere) -> schemas.ModelAnswer:
    """Show a model: its full stored spec, its schema, its metrics, how far it has learned."""
    return model_answer(replica)


@router.delete("/{model}", status_code=204, responses=responses(404, 503))
async def delete_model(replica: ModelHere, runtime: RuntimeHere) -> Response:
    """Delete a model with its log and predictions. It cannot be had back."""
    await runtime.delete(replica.name)
    return Response(status_code=204)


@router.get("/{model}/metrics", responses=responses(404, 503))
async def show_metrics(replica: ModelHere, runtime: RuntimeHere) -> schemas.MetricsAnswer:
    """Show a model's quality, prequential, and how its labels come."""
    predictions = await runtime.predictions.count(replica.id)
    return metrics_answer(replica, predictions, await runtime.predictions.label_counts(replica.id))


@router.get("/{model}/log", responses=responses(404, 422, 503))
async def show_log(
    replica: ModelHere,
    runtime: RuntimeHere,
    after: Annotated[
        int, Query(ge=0, lt=2**63, description="The offset behind which to go on.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> schemas.LogPage:
    """Show a model's log, oldest first."""
    rows = await runtime.log.read(replica.id, after, limit)
    following = rows[-1].offset if rows and rows[-1].offset < replica.model.offset_applied else None
    return schemas.LogPage(entries=[log_entry(row) for row in rows], next=following)


@router.get("/{model}/predictions/{id:path}/reproduce", responses=responses(404, 503))
async def reproduce_prediction(
    replica: ModelHere, id: str, runtime: RuntimeHere
) -> schemas.ReproductionAnswer:
    """Make the state that gave an answer again, from the log, and ask it again.

    It also says what drove the answer: each feature's part in a linear model's sum, or the path
    through a tree.
    """
    found = await reproduce(runtime, replica, id)
    answers = (prediction_of(replica.name, id, each) for each in (found.remembered, found.again))
    answer, again = (schemas.PredictAnswer(**entries.plain(each)) for each in answers)
    return schemas.ReproductionAnswer(
        equal=found.equal,
        answer=answer,
        again=again,
        stamps=entries.plain(found.stamps),
        **found.explanation._asdict(),
    )


@router.get("/{model}/predictions/{id:path}", responses=responses(404, 503))
async def show_prediction(
    replica: ModelHere, id: str, runtime: RuntimeHere
) -> schemas.PredictionAnswer:
    """Show what was asked and answered under an id, and its label if known."""
    found = await runtime.predictions.find(replica.id, id)
    if found is None:
        raise unknown_prediction(replica.name, id)
    return prediction_answer(replica, id, found, await runtime.log.labels_of(replica.id, id))


def model_brief(replica: Replica) -> schemas.ModelBrief:
    """A model for a list."""
    return schemas.ModelBrief(**_brief(replica))


def model_answer(replica: Replica) -> schemas.ModelAnswer:
    """A model in full. Raises `NotReady` while it is being restored."""
    live = replica.model
    created = live.created
    return schemas.ModelAnswer(
        **_brief(replica),
        version=live.version,
        learner=created.learner,
        metrics=replica.learner.scores.figures(),
        metric_specs=created.metrics,
        features=live.types,
        fallback=created.fallback,
        labels=policies.LabelRules(**entries.plain(created.labels)),
        versions=policies.VersionRules(**entries.plain(created.versions)),
        budget=policies.Budget(**entries.plain(created.budget)),
        frozen=None if live.frozen_why is None else live.frozen_why.reason,
        counts=counts(replica),
    )


def counts(replica: Replica) -> schemas.Counts:
    """How many examples of each kind a model has."""
    monitor = replica.model.monitor
    return schemas.Counts(
        examples=monitor.examples,
        labelled=monitor.labelled,
        scored=replica.learner.scores.scored,
        unanswered=monitor.unanswered,
        fallbacks=monitor.fallbacks,
        unlearnable=monitor.unlearnable,
    )


def metrics_answer(
    replica: Replica, predictions: int, unjoined: tuple[int, int]
) -> schemas.MetricsAnswer:
    """A model's quality, of which so many predictions were written.

    `unjoined` are the labels that never came, and those that came for no known prediction.
    """
    live, scores = replica.model, replica.learner.scores
    # A crash forgets the last predictions, not the labels that they have had.
    made = max(predictions, live.monitor.labelled)
    delays = live.monitor.delay_seconds()
    return schemas.MetricsAnswer(
        model=replica.name,
        offset=live.offset_applied,
        since_start=scores.figures(),
        last_1000=scores.recent_figures(),
        counts=counts(replica),
        predictions=made,
        labelled_share=live.monitor.labelled / made if made else None,
        label_delay_seconds=None if delays is None else schemas.Delays(**delays),
        label_delay_histogram=[
            schemas.Bucket(le=bound, count=n) for bound, n in live.monitor.delay_histogram()
        ],
        labels=label_counts(live.monitor, unjoined),
    )


def label_counts(monitor: Monitor, unjoined: tuple[int, int]) -> schemas.LabelCounts:
    """How many labels of each kind a model has had."""
    expired, dangling = unjoined
    return schemas.LabelCounts(
        given=monitor.given,
        default=monitor.defaults,
        corrected=monitor.corrected,
        late=monitor.late,
        recorded=monitor.recorded,
        early=monitor.early,
        dangling=dangling,
        expired=expired,
    )


def prediction_answer(
    replica: Replica, id: str, found: Remembered, labels: list[Row]
) -> schemas.PredictionAnswer:
    """What was asked and answered, with the entries of the log that labelled it."""
    last = labels[-1] if labels else None
    entry = None if last is None else entries.decode(last.body)
    is_label = isinstance(entry, entries.Example | entries.Correction)
    return schemas.PredictionAnswer(
        id=id,
        model=replica.name,
        at=schemas.instant(found.served.at),
        features=found.features,
        answer=schemas.PredictAnswer(**entries.plain(prediction_of(replica.name, id, found))),
        label=entry.label if is_label else None,  # type: ignore[union-attr]
        labelled=last is not None,
        label_origin=_origin(entry),
        feedback_id=last.id if last else None,
        feedback_offset=last.offset if last else None,
    )


def _origin(entry: entries.Entry | None) -> Literal["given", "default", "corrected"] | None:
    """Whose label it is: one that corrects a default is simply given."""
    if isinstance(entry, entries.Example):
        return entry.origin
    if isinstance(entry, entries.Correction):
        return "corrected" if entry.replaced == "given" else "given"
    return None


def log_entry(row: Row) -> schemas.LogEntry:
    """An entry as the API shows it: what stands in the log, with where and when."""
    entry = entries.decode(row.body)
    fields = entries.plain(entry)
    if row.prediction_id is not None:
        fields["prediction_id"] = row.prediction_id
    fields.pop("kind", None)
    if "offset" in fields:
        fields["example_offset"] = fields.pop("offset")
    if isinstance(entry, entries.Example | entries.Correction):
        # What an entry leaves out, being as usual, is told all the same.
        told = ("origin", "late", "early", "learned", "replaced")
        fields |= {name: getattr(entry, name) for name in told if hasattr(entry, name)}
        served = entry.served
        fields["delay_seconds"] = None if served is None else (row.at - served.at) / 1e6
    return schemas.LogEntry(
        offset=row.offset, kind=row.kind, id=row.id, at=schemas.instant(row.at), **fields
    )


def _brief(replica: Replica) -> dict[str, Any]:
    return {
        "name": replica.name,
        "task": replica.created.task,
        "description": (replica.live or replica).created.description,
        "state": replica.state,
        "offset": replica.live.offset_applied if replica.live else 0,
        "created_at": schemas.instant(replica.created_at),
    }
