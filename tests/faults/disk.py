"""A service on a disk that fails when it is told to: `disk.c`, compiled and loaded beneath it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.process import Headrace

SOURCE = Path(__file__).with_name("disk.c")


class Disk:
    """The disk beneath one database file."""

    def __init__(self, folder: Path) -> None:
        library = folder / "disk.so"
        compile_ = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE)]
        subprocess.run([*compile_, "-ldl", "-lpthread"], check=True)
        self._folder = folder / "faults"
        self._folder.mkdir()
        self.environment = {
            "LD_PRELOAD": str(library),
            "HEADRACE_TEST_FAULTS": str(self._folder),
            "HEADRACE_TEST_DATABASE": str(folder / "headrace.db"),
        }

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nothing can be written meanwhile."""
        told = self._folder / "full"
        told.touch()
        try:
            yield
        finally:
            told.unlink()

    def fail_sync(self, n: int) -> None:
        """Let the `n`-th sync from now on fail."""
        (self._folder / "sync.new").write_text(f"{n:<8}")
        (self._folder / "sync.new").rename(self._folder / "sync")

    def has_failed(self) -> bool:
        """Whether the sync that was to fail has failed; if it has not, it will not any more."""
        told = self._folder / "sync"
        is_waiting = told.exists()
        told.unlink(missing_ok=True)
        return not is_waiting


@contextmanager
def on_disk(folder: Path, **environment: str) -> Iterator[tuple[Headrace, Disk]]:
    """A service on such a disk, not started; killed at the end."""
    disk = Disk(folder)
    service = Headrace(folder, {**disk.environment, **environment})
    try:
        yield service, disk
    finally:
        service.kill()
