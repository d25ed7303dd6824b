"""Every error that a caller can meet, and those that stop a start. No HTTP here.

    HeadraceError
    ├── BadRequest              what came is not HTTP/1.1
    ├── Invalid                 what was sent cannot be taken as it is
    │   ├── InvalidParameter    a parameter of the path or the query
    │   ├── InvalidBody         not JSON, or a field is missing, unknown or of another type
    │   ├── InvalidSpec         the learner or the metrics cannot be built
    │   ├── InvalidFeatures     a feature breaks the model's schema or the limits
    │   ├── InvalidLabel        a label that this task does not take
    │   └── Unanswerable        the learner has no answer, and the model says `fallback: "error"`
    ├── NotFound
    │   ├── UnknownPath
    │   ├── UnknownModel
    │   ├── UnknownPrediction
    │   ├── UnknownVersion
    │   ├── UnknownJob
    │   └── UnknownRun
    ├── MethodNotAllowed
    ├── Conflict
    │   ├── ModelExists
    │   ├── AlreadyLabelled
    │   ├── LabelTooLate
    │   ├── SnapshotFailed      no version could be made
    │   └── UnloadableVersion   its state is gone, damaged, or not made here
    ├── TooLarge
    │   ├── BodyTooLarge
    │   └── TooManyItems
    ├── HeadTooLarge            the request's line and headers
    ├── TooMany
    │   └── TooManyModels
    ├── Unavailable             passes by itself: try again after `retry_after_seconds`
    │   ├── NotReady            the model is being restored
    │   ├── LogUnavailable      nothing can be made durable now
    │   ├── NoJobs              no process runs the jobs
    │   ├── BodyTooSlow         the body did not arrive in time
    │   └── Overloaded          a queue is full
    ├── Internal                a bug of ours: nothing of it is told but its name
    └── StartRefused            the process does not start
        ├── AddressTaken
        ├── InvalidSettings
        ├── NewerSchema
        ├── UnsafeDatabase
        └── WrongHashSeed

Each has a stable `code` derived from its name and a message that ends with what to do.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong: where (`features.amount`, `learner[1]`) and why."""

    place: str
    reason: str


class HeadraceError(Exception):
    """The root of the tree: a message for the caller, and the places it is about."""

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = tuple(problems)

    @property
    def code(self) -> str:
        """The class's name in snake case: stable, and what a client should switch on."""
        return code_of(type(self))


def code_of(error: type[HeadraceError]) -> str:
    """The stable code of an error class: `UnknownModel` is `unknown_model`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", error.__name__).lower()


class BadRequest(HeadraceError):
    """What came is not a request of HTTP/1.1."""


class Invalid(HeadraceError):
    """What was sent cannot be taken as it is."""


class InvalidParameter(Invalid):
    """A parameter of the path or the query has a value that it cannot have."""


class InvalidBody(Invalid):
    """The body is not JSON, or one of its fields is missing, unknown or of another type."""


class InvalidSpec(Invalid):
    """The learner or the metrics cannot be built from what was sent."""


class InvalidFeatures(Invalid):
    """A feature breaks the model's schema or the limits."""


class InvalidLabel(Invalid):
    """The label is none that the model's task takes."""


class Unanswerable(Invalid):
    """The learner has no answer to these features, and the model says `fallback: "error"`."""


class NotFound(HeadraceError):
    """What was asked for does not exist."""


class UnknownPath(NotFound):
    """No such path in the API."""


class UnknownModel(NotFound):
    """No model has this name."""


class UnknownPrediction(NotFound):
    """No prediction with this id is remembered for this model."""


class UnknownVersion(NotFound):
    """The model has no version of this number."""


class UnknownJob(NotFound):
    """There is no job of this name."""


class UnknownRun(NotFound):
    """No run of a job has this number, or it is no longer kept."""


class MethodNotAllowed(HeadraceError):
    """The path exists, the method does not."""


class Conflict(HeadraceError):
    """What was asked contradicts what is there."""


class ModelExists(Conflict):
    """A model of this name exists."""


class AlreadyLabelled(Conflict):
    """The prediction has its label, from feedback with another id."""


class LabelTooLate(Conflict):
    """The label came after its wait, and the model says `late: "refuse"`."""


class SnapshotFailed(Conflict):
    """No version could be made of the model."""


class UnloadableVersion(Conflict):
    """The version's state is no longer kept, or damaged, or not made by this installation."""


class TooLarge(HeadraceError):
    """More was sent than is taken."""


class BodyTooLarge(TooLarge):
    """The body is over the limit."""


class TooManyItems(TooLarge):
    """A batch has more items than are taken at once."""


class HeadTooLarge(HeadraceError):
    """The head of the request, its line and headers, is over the limit."""


class TooMany(HeadraceError):
    """More of something was asked for than is allowed."""


class TooManyModels(TooMany):
    """The service holds as many models as it may."""


class Unavailable(HeadraceError):
    """Passes by itself: try again after `retry_after_seconds`."""

    retry_after_seconds = 1


class NotReady(Unavailable):
    """The model is being restored from its log."""


class LogUnavailable(Unavailable):
    """Nothing can be made durable now, so no feedback is taken."""


class NoJobs(Unavailable):
    """No process runs the jobs now, so what is for them is not taken."""


class BodyTooSlow(Unavailable):
    """The body did not arrive in time."""


class Overloaded(Unavailable):
    """A queue is full; nothing of the request was taken."""


class Internal(HeadraceError):
    """A bug of ours. The log of operations has the details, the answer has not."""


class StartRefused(HeadraceError):
    """The process does not start, and says why."""


class AddressTaken(StartRefused):
    """The address cannot be listened on."""


class InvalidSettings(StartRefused):
    """A setting has a value that it cannot have."""


class NewerSchema(StartRefused):
    """The database was written by a newer Headrace."""


class UnsafeDatabase(StartRefused):
    """The database, or the library that reads it, cannot keep what is promised."""


class WrongHashSeed(StartRefused):
    """This process hashes strings otherwise than the ones that wrote the log."""
