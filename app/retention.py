"""Which versions keep their states, so that they can be gone back to. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

NEWEST_KEPT = 20
VALID_KEPT = 3
DAYS_KEPT = 30
"""Which versions keep their states: the newest, the newest valid, and the last of each day."""

DAY_US = 86_400_000_000
"""A day, in microseconds."""


class Kept(NamedTuple):
    """What decides whether a version keeps its state."""

    number: int
    at: int
    status: str
    pinned: bool


def surplus(known: Sequence[Kept], now: int) -> list[int]:
    """Of versions that have states, newest first, the numbers of those that need none."""
    wanted = {kept.number for kept in known[:NEWEST_KEPT]}
    wanted |= {kept.number for kept in known if kept.pinned}
    wanted |= {kept.number for kept in [k for k in known if k.status == "valid"][:VALID_KEPT]}
    today = now // DAY_US
    days: set[int] = set()
    for kept in known:
        day = kept.at // DAY_US
        if day > today - DAYS_KEPT and day not in days:
            days.add(day)
            wanted.add(kept.number)
    return [kept.number for kept in known if kept.number not in wanted]
