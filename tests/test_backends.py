"""The two databases: what is refused at a start, and the queue of those who write a file."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from app.backends import PostgreSQL, SQLite, Turnstile, backend_of, find_pairs, insert_many
from app.database import Database
from app.errors import InvalidSettings, UnsafeDatabase
from app.settings import Settings
from app.tables import entries
from tests import databases
from tests.databases import psql


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("sqlite:///x.db", SQLite),
        ("postgresql://u@h/d", PostgreSQL),
        ("postgresql+psycopg://u@h/d", PostgreSQL),
    ],
)
def test_a_url_names_a_backend(url: str, kind: type) -> None:
    assert type(backend_of(url, 1)) is kind


@pytest.mark.parametrize(
    "url",
    ["", "x", "sqlite://", "sqlite:///:memory:", "mysql://h/d", "postgresql+psycopg2://h/d"],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="HEADRACE_DATABASE_URL"):
        backend_of(url, 1)


def test_no_password_is_shown(tmp_path: Path) -> None:
    with pytest.raises(UnsafeDatabase) as refused:
        Database(Settings(database_url="postgresql://user:geheim@127.0.0.1:1/d"))
    assert "geheim" not in refused.value.message and "user:***@" in refused.value.message


def test_an_encoding_that_cannot_hold_every_text_is_refused(tmp_path: Path) -> None:
    with databases.of("postgresql"):
        name = sa.engine.make_url(databases.fresh(tmp_path)).database
        databases.drop(str(name))
        psql(
            str(databases.server().render_as_string(hide_password=False)),
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' "
            "LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        with pytest.raises(UnsafeDatabase, match="encoding is SQL_ASCII"):
            Database(Settings(database_url=databases.at(tmp_path)))


@pytest.mark.usefixtures("backend")
def test_many_rows_go_in_and_pairs_are_found(tmp_path: Path) -> None:
    database = Database(Settings(database_url=databases.blank(tmp_path)))
    rows: list[dict[str, Any]] = [
        {
            "model_id": 1 + n % 2,
            "offset": n,
            "kind": "k",
            "id": f'{n} "quoted", {{braced}} \\ é',
            "prediction_id": None if n % 3 else f"p{n}",
            "at": 2**62 + n,
            "body": bytes([n, 0, 255, 34, 92]),
        }
        for n in range(200)
    ]
    with database.transaction(alone=False) as connection:
        insert_many(connection, entries, rows)
    with database.snapshot() as connection:
        query = sa.select(*entries.c).order_by(entries.c.offset)
        assert [row._asdict() for row in connection.execute(query)] == rows
        columns = (entries.c.model_id, entries.c.id)
        wanted = {(row["model_id"], row["id"]) for row in rows[::7]} | {(1, "none"), (9, "x")}
        found = find_pairs(connection, columns, wanted, entries.c.offset)
        assert sorted(row[2] for row in found) == list(range(0, 200, 7))
        columns = (entries.c.model_id, entries.c.prediction_id)
        found = find_pairs(connection, columns, {(1, "p6"), (2, "p6")}, entries.c.offset)
        assert [tuple(row) for row in found] == [(1, "p6", 6)]
    database.close()


@pytest.mark.usefixtures("backend")
def test_what_a_database_cannot_hold_is_no_failure_of_it(client: TestClient) -> None:
    body = {"name": "m", "task": "binary", "learner": "tree.HoeffdingTreeClassifier"}
    assert client.post("/v1/models", json=body).status_code == 201
    assert client.get("/v1/models/m/predictions/a%00b").json()["code"] == "unknown_prediction"
    unprintable = {"features": {"x": 1}, "id": "a\0b", "label": True}
    for call in ("predict", "feedback"):
        reply = client.post(f"/v1/models/m/{call}", json=unprintable)
        assert reply.status_code == 422, reply.text
    reply = client.patch("/v1/models/m/versions/1", json={"note": "a\0b"})
    assert reply.status_code == 422 and "note" in reply.text
    features = {"na\0me": "te\0xt", "é": "😀"}
    sent = {"features": features, "label": True, "id": "e1"}
    assert client.post("/v1/models/m/feedback", json=sent).json()["offset"] == 2
    [entry] = client.get("/v1/models/m/log?after=1").json()["entries"]
    assert entry["features"] == features


def test_one_at_a_time_passes_the_turnstile(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        turnstile = Turnstile(tmp_path / "turn")
        for _ in range(100):
            with turnstile.passed(60):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1
        turnstile.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_who_does_not_let_go_is_passed_by_and_keeps_nobody_afterwards(tmp_path: Path) -> None:
    holder, waiter, third = (Turnstile(tmp_path / "turn") for _ in range(3))
    with holder.passed(1):
        began = time.monotonic()
        for _ in range(2):
            with waiter.passed(0.1):
                pass
        assert 0.15 < time.monotonic() - began < 10
    # The wait that was given up took the lock a moment later, and let go of it.
    for turnstile in (third, waiter, holder, third):
        began = time.monotonic()
        with turnstile.passed(30):
            assert time.monotonic() - began < 10


def test_where_no_file_can_be_made_all_pass(tmp_path: Path) -> None:
    with Turnstile(tmp_path / "no folder" / "turn").passed(1):
        pass
