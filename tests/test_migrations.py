"""The schema: migrations make the tables that the code knows, and strange databases are refused."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pysqlite3 import dbapi2 as sqlite

from app.database import SCHEMA, Database, migrations_folder
from app.errors import NewerSchema, UnsafeDatabase
from app.settings import Settings
from app.tables import metadata
from tests.faults.lock import held
from tests.process import Headrace

NOBODY = 65_534


def settings_for(path: Path) -> Settings:
    """Settings with this database file."""
    return Settings(database_url=f"sqlite:///{path}")


def migrated(path: Path) -> Path:
    """The file of a new database of this release's schema."""
    Database(settings_for(path)).close()
    return path


def statements(path: Path) -> dict[str, str]:
    """What SQLite keeps of each table and index: the statement that makes it."""
    connection = sqlite.connect(str(path))
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    found = {
        name: re.sub(r'\s+|"', " ", sql).replace("( ", "(").replace(" )", ")").strip()
        for name, sql in connection.execute(query)
        if name not in ("alembic_version", "sqlite_sequence")
    }
    connection.close()
    return found


def revise(path: Path, revision: str) -> None:
    """Say that the database has another schema."""
    connection = sqlite.connect(str(path))
    connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()


def migrate(url: str) -> subprocess.CompletedProcess[str]:
    """`headrace migrate` on a database."""
    return subprocess.run(
        [sys.executable, "-m", "app", "migrate"],
        env={**os.environ, "HEADRACE_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
    )


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user for whom permissions count, which they do not for root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user may enter, and none may write to."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        yield Path(folder)
        os.chmod(folder, 0o755)


def test_the_migrations_make_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{migrated(tmp_path / 'new.db')}", module=sqlite)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_migrations_make_them_to_the_letter(tmp_path: Path) -> None:
    """Also what Alembic does not compare: rows without a row id, and conditions of indexes."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'made.db'}", module=sqlite)
    metadata.create_all(engine)
    engine.dispose()
    assert statements(migrated(tmp_path / "new.db")) == statements(tmp_path / "made.db")


def test_the_schema_that_the_code_names_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [SCHEMA]
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True), "newer schemas sort behind older ones"


def test_opening_a_database_again_changes_nothing(tmp_path: Path) -> None:
    path = migrated(tmp_path / "kept.db")
    first = Database(settings_for(path))
    seed = first.hash_seed
    first.close()
    before = path.read_bytes()
    second = Database(settings_for(path))
    assert second.hash_seed == seed
    second.close()
    assert path.read_bytes() == before


def test_a_database_of_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = migrated(tmp_path / "newer.db")
    revise(path, "9999")
    before = path.read_bytes()
    with pytest.raises(NewerSchema) as refused:
        Database(settings_for(path))
    assert "9999" in refused.value.message and SCHEMA in refused.value.message
    assert refused.value.message.endswith(
        "Start the newer Headrace that wrote it, or give another database."
    )
    assert path.read_bytes() == before


def test_a_refused_start_ends_with_one_readable_message(tmp_path: Path) -> None:
    revise(migrated(tmp_path / "newer.db"), "9999")
    done = migrate(f"sqlite:///{tmp_path / 'newer.db'}")
    assert done.returncode == 2
    assert done.stderr.startswith("headrace: ") and len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_the_reason_of_a_refusal_is_sqlites_own_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnsafeDatabase) as refused:
        Database(settings_for(tmp_path / "nowhere" / "headrace.db"))
    assert "unable to open database file" in refused.value.message
    assert "\n" not in refused.value.message and "http" not in refused.value.message


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere" / "headrace.db")
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, this is no database. " * 100)
    before = path.read_bytes()
    refuse(path)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_refused(shared_folder: Path) -> None:
    with without_privileges():
        refuse(shared_folder / "headrace.db")
    assert not list(shared_folder.iterdir())


def test_a_file_that_cannot_be_written_is_refused(shared_folder: Path) -> None:
    os.chmod(shared_folder, 0o755)
    path = migrated(shared_folder / "headrace.db")
    path.chmod(0o444)
    os.chmod(shared_folder, 0o555)
    with without_privileges():
        refuse(path)


def test_a_file_that_is_locked_is_refused_as_such(tmp_path: Path) -> None:
    path = migrated(tmp_path / "headrace.db")
    with held(path, "BEGIN IMMEDIATE"), pytest.raises(UnsafeDatabase) as refused:
        Database(settings_for(path).model_copy(update={"database_busy_ms": 100}))
    assert "locked" in refused.value.message
    assert "Start again when it is done." in refused.value.message
    assert "HEADRACE_DATABASE_URL" not in refused.value.message


def refuse(path: Path) -> None:
    """Opening this file must be refused, naming it, the reason and what to do."""
    with pytest.raises(UnsafeDatabase) as refused:
        Database(settings_for(path))
    assert str(path) in refused.value.message
    assert "HEADRACE_DATABASE_URL" in refused.value.message
    assert refused.value.message.endswith(".")


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "half.db"
    connection = sqlite.connect(str(path))
    connection.execute("CREATE TABLE predictions (mine TEXT)")
    connection.commit()
    connection.close()
    refuse(path)
    assert statements(path).keys() == {"predictions"}


def test_processes_that_start_at_once_on_a_new_file_make_it_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(migrate, [url] * 4))
    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 4
    assert statements(tmp_path / "new.db") == statements(migrated(tmp_path / "other.db"))


def test_two_services_that_start_at_once_on_a_new_file_both_work(tmp_path: Path) -> None:
    services = [Headrace(tmp_path), Headrace(tmp_path)]
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Headrace.start, services))
        first, second = services
        first.create("shared")
        example = {"id": "one", "features": {"a": 1.5}, "label": True}
        assert first.post("/v1/models/shared/feedback", example).body["offset"] == 2
        question = {"features": {"a": 1.5}}
        wanted = first.post("/v1/models/shared/predict", question).body
        heard = asked(second, question, offset=2)
        assert {**heard, "id": ""} == {**wanted, "id": ""}
    finally:
        for service in services:
            service.kill()


def asked(service: Headrace, question: Mapping[str, object], offset: int) -> dict[str, object]:
    """What a service answers once it has followed the log to this offset."""
    deadline = time.monotonic() + 30
    while True:
        reply = service.post("/v1/models/shared/predict", question)
        if reply.status == 200 and reply.body["offset"] >= offset:
            found: dict[str, object] = reply.body
            return found
        assert time.monotonic() < deadline, reply
        time.sleep(0.05)
