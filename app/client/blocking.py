"""The client for threads."""

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Unpack

import httpx2
import msgspec
from tenacity import Retrying

from app.client import calls, chunks
from app.client.addresses import Addresses, heed_deadlines, timeouts, within
from app.client.answers import (
    Feedback,
    Label,
    Learners,
    LogEntry,
    Metrics,
    Model,
    ModelBrief,
    Prediction,
    RememberedPrediction,
)
from app.client.calls import Answer, Call, Features, ModelOptions, Result, Sent, Task, refused
from app.client.chunks import ITEMS_MAX, Chunk, Item
from app.client.failures import Transient
from app.client.operating import Operating
from app.errors import HeadraceError, ModelExists, UnknownModel


class Client(Operating):
    """A service, reached from threads. Threads may share one client.

    Connections are kept open between calls; close the client, or use it as a context.

    Parameters
    ----------
    url
        Where the service is; or several URLs at which it can be reached. The one that worked last
        is used until it cannot be reached or answers 503.
    timeout
        How long one try may take, in seconds, from its start to the end of the answer; of many
        items, how long the service may send nothing.
    retries
        How often a call is tried again after a failure that may pass: a connection refused or cut,
        no answer in time, or the status 429, 502, 503 or 504. With several URLs, how many rounds
        through them.
    consistent
        Whether each prediction knows all feedback that this client was answered before, whichever
        process it reaches.

    Examples
    --------
    >>> from app.client import Client
    >>> with Client("http://localhost:8000") as client:
    ...     asked = client.predict("phishing", {"age": 1, "is_ip": False})
    ...     learned = client.feedback("phishing", True, prediction_id=asked.id)
    >>> asked.prediction, learned.duplicate
    (False, False)
    """

    def __init__(
        self,
        url: str | Iterable[str] = "http://127.0.0.1:8000",
        *,
        timeout: float = 60.0,
        retries: int = 8,
        consistent: bool = False,
    ) -> None:
        self._addresses = Addresses(url)
        self._seen = calls.Seen(consistent)
        self._policy = self._addresses.policy(retries)
        self._timeout = timeout
        self._http = httpx2.Client(timeout=timeouts(timeout))
        heed_deadlines(self._http)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def is_ready(self) -> bool:
        """Whether the service can serve now. Asked once, without trying again.

        Examples
        --------
        >>> client.is_ready()
        True
        """
        try:
            self._try(calls.ready())
        except (Transient, HeadraceError):
            return False
        return True

    def create_model(
        self, name: str, task: Task, learner: Any, **options: Unpack[ModelOptions]
    ) -> Model:
        """Create a model, which answers from the next call on.

        Parameters
        ----------
        name
            1 to 128 letters, digits, `.`, `_` and `-`.
        task
            `"binary"`, `"multiclass"`, `"regression"` or `"anomaly"`.
        learner
            The spec: a name, a name with parameters, or a list of them for a pipeline.
        **options
            `metrics`, `features` (their types), `fallback`, `description` and `labels`; the
            service's defaults hold for what is left out.

        Raises
        ------
        ModelExists
            There is one of this name. If an answer was lost on the way, and the model that is there
            has the task, the description, the fallback and the features that were asked for, it
            counts as the one that was created. Its learner cannot be compared.
        InvalidSpec
            The learner or the metrics cannot be built.

        Examples
        --------
        >>> model = client.create_model(
        ...     "spam",
        ...     "binary",
        ...     ["preprocessing.StandardScaler", "linear_model.LogisticRegression"],
        ...     metrics=["Accuracy"],
        ...     description="Does anybody want this letter?",
        ... )
        >>> model.state, model.offset, model.metrics
        ('ready', 1, {'Accuracy': None})
        """
        call = calls.create_model(name, task, learner, options)
        self._seen.forget(name)
        try:
            return self._call(call)
        except ModelExists:
            if call.is_in_doubt and calls.is_as_asked(found := self.model(name), task, options):
                return found
            raise

    def models(self) -> Iterator[ModelBrief]:
        """All models by name, read page by page.

        Examples
        --------
        >>> [model.name for model in client.models()]
        ['phishing']
        """
        after: str | None = None
        while True:
            page = self._call(calls.models(after))
            yield from page.models
            if (after := page.next) is None:
                return

    def model(self, name: str) -> Model:
        """One model, with its full stored spec.

        Examples
        --------
        >>> client.model("phishing").task
        'binary'
        """
        return self._call(calls.model(name))

    def delete_model(self, name: str) -> None:
        """Delete a model with its log and its predictions. It cannot be had back.

        Examples
        --------
        >>> client.delete_model("phishing")
        """
        call = calls.delete_model(name)
        try:
            self._call(call)
        except UnknownModel:
            if not call.is_in_doubt:
                raise

    def predict(self, model: str, features: Features, id: str | None = None) -> Prediction:
        """Answer features by the model as of its last feedback.

        Parameters
        ----------
        model
            The model's name.
        features
            Names and values: numbers, strings, booleans, None for missing. Scalars of NumPy do.
        id
            Yours, to send as `prediction_id` with the label; one is made if left out. An id that
            was answered before is answered as it was.

        Raises
        ------
        InvalidFeatures
            A feature breaks the model's schema or a limit; `problems` says which and why.

        Examples
        --------
        >>> asked = client.predict("phishing", {"age": 1, "is_ip": False}, id="visit-1")
        >>> asked.prediction, asked.probabilities
        (False, {'false': 0.5, 'true': 0.5})
        """
        call = calls.predict(model, features, id, self._seen.of(model))
        return self._seen.note(model, self._call(call))

    def feedback(
        self,
        model: str,
        label: Label | msgspec.UnsetType | None = msgspec.UNSET,
        *,
        prediction_id: str | None = None,
        features: Features | None = None,
        id: str | None = None,
    ) -> Feedback:
        """Teach a model a label; it is durable and learned when this returns.

        Parameters
        ----------
        model
            The model's name.
        label
            What was true. `0`, `False` and `""` are labels; leave it out only for anomalies.
        prediction_id
            The prediction that this is the label of; or else
        features
            the features that this is the label of.
        id
            Yours: the same id is learned once. One is made, and kept while the call is tried
            again, if left out.

        Raises
        ------
        AlreadyLabelled
            The prediction has its label, from feedback with another id.
        UnknownPrediction
            It was never made, is expired, or was forgotten by a crash. Send the features.

        Examples
        --------
        >>> client.feedback("phishing", True, features={"age": 1, "is_ip": False}, id="label-1")
        Feedback(id='label-1', offset=2, duplicate=False, warnings=None)
        """
        of = {"prediction_id": prediction_id, "features": features}
        return self._seen.note(model, self._call(calls.feedback(model, label, of, id)))

    def predict_many(
        self, model: str, items: Iterable[Item], *, progress: bool = False, chunk: int = ITEMS_MAX
    ) -> Iterator[Prediction | HeadraceError]:
        """Predict for any number of items: one result for each, in order.

        Parameters
        ----------
        model
            The model's name.
        items
            `{"features": ..., "id"?: ...}` each; a generator of millions will do, for no more than
            a chunk is held at a time.
        progress
            Whether to show a bar.
        chunk
            How many items are sent at once, at most.

        Yields
        ------
        Prediction or HeadraceError
            An item that is refused yields its error, and the rest goes on. What concerns the whole
            (no such model, the service cannot be reached) is raised once retries are spent, after
            what is known of the items before has been yielded.

        Examples
        --------
        >>> ages = [1, float("nan"), None]
        >>> pages = ({"features": {"age": age}} for age in ages)
        >>> [type(result).__name__ for result in client.predict_many("phishing", pages)]
        ['Prediction', 'InvalidFeatures', 'Prediction']
        """
        batch = chunks.predict(model, chunk, self._seen)
        with chunks.bar(items, progress) as done:
            yield from self._many(batch.chunks(items), done)

    def feedback_many(
        self, model: str, items: Iterable[Item], *, progress: bool = False, chunk: int = ITEMS_MAX
    ) -> Iterator[Feedback | HeadraceError]:
        """Teach any number of labels: one result for each, in order.

        An item is `{"prediction_id" or "features": ..., "label": ..., "id"?: ...}`. All else is as
        for `predict_many`. Nothing is learned twice, however often a connection is cut; but items
        that are sent by another call need ids of yours for that.

        Examples
        --------
        >>> labels = ({"features": {"age": age}, "label": age < 2} for age in range(5))
        >>> [result.offset for result in client.feedback_many("phishing", labels)]
        [2, 3, 4, 5, 6]
        """
        batch = chunks.feedback(model, chunk, self._seen)
        with chunks.bar(items, progress) as done:
            yield from self._many(batch.chunks(items), done)

    def metrics(self, model: str) -> Metrics:
        """How well a model does: each example was predicted before it was learned.

        Examples
        --------
        >>> taught = client.feedback("phishing", True, features={"age": 1})
        >>> client.metrics("phishing").since_start["Accuracy"]
        0.0
        """
        return self._call(calls.metrics(model))

    def log(self, model: str, after: int = 0) -> Iterator[LogEntry]:
        """The entries of a model's log behind an offset, oldest first, read page by page.

        Examples
        --------
        >>> taught = client.feedback("phishing", True, features={"age": 1})
        >>> [entry.kind for entry in client.log("phishing")]
        ['created', 'example']
        >>> [entry.fields["label"] for entry in client.log("phishing", after=1)]
        [True]
        """
        behind: int | None = after
        while behind is not None:
            page = self._call(calls.log(model, behind))
            yield from calls.entries(page)
            behind = page.next

    def prediction(self, model: str, id: str) -> RememberedPrediction:
        """What was asked and answered under an id, and its label if it is known.

        Examples
        --------
        >>> asked = client.predict("phishing", {"age": 1}, id="visit-1")
        >>> client.prediction("phishing", "visit-1").features
        {'age': 1}
        """
        return self._call(calls.prediction(model, id))

    def learners(self) -> Learners:
        """All that a spec may name.

        Examples
        --------
        >>> "linear_model.LogisticRegression" in {each.name for each in client.learners().learners}
        True
        """
        return self._call(calls.learners())

    def _call(self, call: Call[Answer]) -> Answer:
        return self._retry(self._try, call)

    def _many(
        self, every: Iterator[Chunk[Answer]], done: Callable[[int], object]
    ) -> Iterator[Answer | HeadraceError]:
        for chunk in every:
            failure: HeadraceError | None = None
            try:
                self._retry(self._try_chunk, chunk)
            except HeadraceError as error:
                failure = error
            known = chunk.outcomes()
            done(len(known))
            yield from known
            if failure is not None and not chunk.explains(failure):
                raise failure

    def _retry(self, send: Callable[[Sent], Result], sent: Sent) -> Result:
        try:
            return Retrying(**self._policy)(send, sent)
        except Transient as failure:
            raise failure.error from failure.__cause__

    def _try(self, call: Call[Answer]) -> Answer:
        with self._addresses.reach(call.failed) as url:
            return call.read(self._http.request(**call.to(url), timeout=within(self._timeout)))

    def _try_chunk(self, chunk: Chunk[Answer]) -> None:
        with self._addresses.reach() as url:
            with self._http.stream(
                "POST", url + chunk.path, content=chunk.body(), headers=chunks.HEADERS
            ) as response:
                if not response.is_success:
                    response.read()
                    raise refused(response)
                for data in response.iter_bytes():
                    chunk.read(data)
            chunk.end()
