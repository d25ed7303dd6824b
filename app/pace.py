"""The pace of a thread beside the requests: it rests for as long as it held the interpreter."""

import time

HELD_SECONDS = 0.001
"""How long the interpreter is held at least before others have their turn."""


class Pace:
    """Called again and again by a thread that works on: it rests from time to time.

    Work in C code lets nobody else in until it is done, and work in Python only by turns, of which
    a request then gets half. A thread that sleeps is in nobody's way.
    """

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> None:
        """Rest for as long as was worked since the last rest."""
        held = time.perf_counter() - self._since
        if held >= HELD_SECONDS:
            time.sleep(held)
            self._since = time.perf_counter()


def hurry() -> None:
    """Do not rest: nobody else wants the interpreter."""
