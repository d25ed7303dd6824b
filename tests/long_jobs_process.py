"""A process of jobs that has those of the tests, too: `python -m tests.long_jobs_process`."""

from app.jobs import SCHEDULE
from app.jobs.process import run
from app.settings import load_settings
from app.telemetry import configure_logging
from tests.long_jobs import MORE

if __name__ == "__main__":
    settings = load_settings()
    configure_logging(settings.log_level)
    run(settings, is_beside=False, schedule=(*SCHEDULE, *MORE))
