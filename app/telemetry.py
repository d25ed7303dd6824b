"""Operations logs: one line an event, for people and for collectors of lines."""

import logging
import sys


def configure_logging(level: str) -> None:
    """Log to the standard error stream from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger("app")
    root.handlers = [handler]
    root.setLevel(level.upper())
    root.propagate = False
    # A job that is still running when its next turn comes passes it over: that is no news.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    uvicorn = logging.getLogger("uvicorn")
    uvicorn.handlers = [handler]
    uvicorn.setLevel(level.upper())
    uvicorn.propagate = False
