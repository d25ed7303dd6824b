"""The Python client: everything of the API as a typed call, from threads and from asyncio.

    with Client("http://localhost:8000") as client:
        asked = client.predict("phishing", {"age": 1, "is_ip": False})
        client.feedback("phishing", True, prediction_id=asked.id)

What is kept whatever the network does: **nothing is learned twice, and nothing is lost silently.**
Predictions and feedback get an id before they are first sent and keep it, so that a call whose
answer was lost is sent again without harm. A call ends with an answer or with an error that says
why not; the errors are the service's own classes, and `ServiceUnreachable` besides.

Of the service it imports nothing but the tree of errors; see
`docs/decisions/0012-the-client-shares-the-tree-of-errors.md`.
"""

from app.client.answers import (
    Bucket,
    Counts,
    Delays,
    Feedback,
    LabelCounts,
    LabelPolicy,
    Learner,
    Learners,
    LogEntry,
    Metrics,
    Model,
    ModelBrief,
    Parameter,
    Prediction,
    RememberedPrediction,
    Warned,
)
from app.client.asynchronous import AsyncClient
from app.client.blocking import Client
from app.client.calls import LabelOptions, ModelOptions
from app.client.failures import ServiceUnreachable
from app.errors import (
    AlreadyLabelled,
    BadRequest,
    BodyTooLarge,
    BodyTooSlow,
    Conflict,
    HeadraceError,
    HeadTooLarge,
    Internal,
    Invalid,
    InvalidBody,
    InvalidFeatures,
    InvalidLabel,
    InvalidParameter,
    InvalidSpec,
    LabelTooLate,
    LogUnavailable,
    MethodNotAllowed,
    ModelExists,
    NotFound,
    NotReady,
    Overloaded,
    Problem,
    TooLarge,
    TooMany,
    TooManyItems,
    TooManyModels,
    Unanswerable,
    Unavailable,
    UnknownModel,
    UnknownPath,
    UnknownPrediction,
)

__all__ = [
    "AlreadyLabelled",
    "AsyncClient",
    "BadRequest",
    "BodyTooLarge",
    "BodyTooSlow",
    "Bucket",
    "Client",
    "Conflict",
    "Counts",
    "Delays",
    "Feedback",
    "HeadTooLarge",
    "HeadraceError",
    "Internal",
    "Invalid",
    "InvalidBody",
    "InvalidFeatures",
    "InvalidLabel",
    "InvalidParameter",
    "InvalidSpec",
    "LabelCounts",
    "LabelOptions",
    "LabelPolicy",
    "LabelTooLate",
    "Learner",
    "Learners",
    "LogEntry",
    "LogUnavailable",
    "MethodNotAllowed",
    "Metrics",
    "Model",
    "ModelBrief",
    "ModelExists",
    "ModelOptions",
    "NotFound",
    "NotReady",
    "Overloaded",
    "Parameter",
    "Prediction",
    "Problem",
    "RememberedPrediction",
    "ServiceUnreachable",
    "TooLarge",
    "TooMany",
    "TooManyItems",
    "TooManyModels",
    "Unanswerable",
    "Unavailable",
    "UnknownModel",
    "UnknownPath",
    "UnknownPrediction",
    "Warned",
]
