"""What a job is, and what a run of it is given.

A short job is a coroutine in the event loop of the process that runs the jobs. A long one is a
function that runs in a process of its own: it may take hours, and can be killed.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from app import leases
from app.leases import Lease
from app.replica import Replica
from app.runs import LEASE, Cause
from app.runtime import Runtime
from app.settings import Settings
from app.versions import Guard

Begin = Callable[[str, Replica | None, Cause], Awaitable[None]]
Tell = Callable[[float], Awaitable[None]]


class Errand(NamedTuple):
    """One run of a short job: for whom, with what, and who must still hold the lease."""

    runtime: Runtime
    lease: Lease
    cause: Cause
    wanted: dict[str, Any]
    about: Replica | None
    begin: Begin
    """Begins a run of another job, unless one of that job and model goes on; sees it to its end."""
    ask: Begin
    """Asks for a run of another job, unless one of that job and model waits or goes on."""
    tell: Tell
    """Takes how far it is, as a share of 1."""

    @property
    def replica(self) -> Replica:
        """The model that it is about."""
        if self.about is None:
            raise RuntimeError("a job that is about one model was run without one")
        return self.about

    @property
    def guard(self) -> Guard:
        """Raises `LeaseLost` in a transaction that only the process with the lease may commit."""
        return self.lease.check


class LongErrand(NamedTuple):
    """One run of a long job, in its own process."""

    settings: Settings
    model_id: int | None
    cause: Cause
    wanted: dict[str, Any]
    token: int
    tell: Callable[[float], None]
    """Takes how far it is, as a share of 1."""

    @property
    def guard(self) -> Guard:
        """Raises `LeaseLost` in a transaction that only the process with the lease may commit."""
        return lambda connection: leases.check(connection, LEASE, self.token)


Short = Callable[[Errand], Awaitable[str]]
Long = Callable[[LongErrand], str]


class Job(NamedTuple):
    """What is run: how often, if by the clock; and what it is, in a sentence.

    What is run says what it did, or nothing. It is a coroutine (`short`), or (`long`) a function
    that stands at the top of a module. A job that is `about_model` is run for one.
    """

    name: str
    every_seconds: int | None
    says: str
    short: Short | None = None
    long: Long | None = None
    about_model: bool = False
