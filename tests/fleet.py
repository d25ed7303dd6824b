"""Servers of one database, clients that send whatever they have to any of them, and an operator.

At the end nothing that was acknowledged may be lost or doubled, and all servers must answer as a
replay of the log does.
"""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from threading import Event
from typing import Any

from app import log
from app.database import Database
from app.entries import Created, decode
from app.registry import Registered
from app.replay import Source, replay
from app.settings import Settings
from tests.conftest import FULL
from tests.process import LINEAR, Headrace

CLIENTS = 64 if FULL else 8
PROBES = 1_000 if FULL else 100
KILL_SECONDS = 3.0
MODELS: dict[str, Any] = {"linear": LINEAR, "tree": "tree.HoeffdingTreeClassifier"}
SEED = 20_261_125


class Client:
    """One client: it sends again, to any server, until it is answered."""

    def __init__(self, number: int, servers: list[Headrace]) -> None:
        self.chance = random.Random(SEED + number)
        self.number = number
        self.servers = servers
        self.acknowledged: dict[tuple[str, str], int] = {}
        self.asked: list[tuple[str, str]] = []
        self.sent = 0

    def work(self, until: float) -> None:
        """Ask, label and teach."""
        while time.monotonic() < until:
            model = self.chance.choice(list(MODELS))
            if self.asked and self.chance.random() < 0.4:
                where, prediction = self.asked.pop(self.chance.randrange(len(self.asked)))
                self.feedback(where, prediction_id=prediction, label=self.chance.random() < 0.5)
            elif self.chance.random() < 0.6:
                answer = self.send(model, "predict", {"features": observation(self.chance)})
                self.asked.append((model, answer["id"]))
            else:
                features = observation(self.chance)
                self.feedback(model, features=features, label=features["a"] > 0)

    def feedback(self, model: str, **body: Any) -> None:
        """Send feedback; what a prediction that died with its server knew is lost with it."""
        self.sent += 1
        id = f"c{self.number}-{self.sent}"
        answer = self.send(model, "feedback", {**body, "id": id})
        if answer is not None:
            self.acknowledged[model, id] = answer["offset"]

    def send(self, model: str, call: str, body: dict[str, Any]) -> Any:
        """Send until an answer comes that is none of passing trouble; None is 404."""
        while True:
            try:
                connection = self.chance.choice(self.servers).connect(10)
                try:
                    reply = connection.post(f"/v1/models/{model}/{call}", body)
                finally:
                    connection.close()
            except (OSError, HTTPException):
                time.sleep(0.05)
                continue
            if reply.status == 200:
                return reply.body
            if reply.status == 404 and reply.body["code"] == "unknown_prediction":
                return None
            assert reply.status == 503, reply
            time.sleep(0.05)


def observation(chance: random.Random) -> dict[str, Any]:
    """Features, one of them now and then of a name that nobody knew."""
    found = {"a": chance.gauss(0, 1), "b": chance.gauss(5, 2)}
    if chance.random() < 0.02:
        found[f"rare{chance.randrange(100)}"] = 1
    return found


def operate(servers: list[Headrace], stop: Event) -> int:
    """Make versions, swap and roll back; how often that was done."""
    chance, done = random.Random(SEED), 0
    while not stop.wait(0.3):
        model = chance.choice(list(MODELS))
        path = f"/v1/models/{model}"
        try:
            server = chance.choice(servers)
            known = server.get(f"{path}/versions?limit=20").body["versions"]
            if not known or chance.random() < 0.4:
                reply = server.post(f"{path}/versions", {})
            elif chance.random() < 0.5:
                number = chance.choice(known)["number"]
                reply = server.post(f"{path}/swap", {"version": number, "reason": "a test"})
            else:
                body = {
                    "version": chance.choice(known)["number"],
                    "replay": chance.choice(("none", "since")),
                }
                reply = server.post(f"{path}/rollback", body)
        except (OSError, HTTPException, KeyError):
            continue
        assert reply.status in (200, 201, 409, 503), reply
        done += reply.status in (200, 201)
    return done


def kill(servers: Sequence[Headrace], stop: Event) -> int:
    """Kill one of the servers now and then, and begin it again; how often."""
    chance, kills = random.Random(SEED + 1), 0
    while not stop.wait(KILL_SECONDS * chance.uniform(0.5, 1.5)):
        server = chance.choice(servers)
        server.kill()
        server.start(ready=False)
        kills += 1
    return kills


@contextmanager
def busy(servers: list[Headrace], killed: Sequence[Headrace], seconds: float) -> Iterator[None]:
    """Clients and an operator work meanwhile and so long at least, and some servers are killed.

    Then all are asked whether they are right.
    """
    for name, learner in MODELS.items():
        servers[0].create(name, learner=learner)
    clients = [Client(n, servers) for n in range(CLIENTS)]
    stop, until = threading.Event(), time.monotonic() + seconds
    with ThreadPoolExecutor(CLIENTS + 2) as pool:
        working = [pool.submit(client.work, until) for client in clients]
        operating, killing = pool.submit(operate, servers, stop), pool.submit(kill, killed, stop)
        try:
            yield
            for each in working:
                each.result()
        finally:
            stop.set()
        assert operating.result() > 0 and killing.result() > 0
    for server in servers:
        server.wait("/readyz")
    chance = random.Random(SEED + 2)
    probes = [observation(chance) for _ in range(PROBES)]
    database = Database(Settings(database_url=servers[0].url))
    try:
        for number, model in enumerate(MODELS, start=1):
            check(database, servers, clients, number, model, probes)
    finally:
        database.close()


def check(
    database: Database,
    servers: list[Headrace],
    clients: list[Client],
    number: int,
    model: str,
    probes: list[dict[str, Any]],
) -> None:
    """What was acknowledged of a model is there once, and all answer as its log does."""
    rows: list[log.Row] = []
    with database.snapshot() as connection:
        # A page has a bound on its bytes too.
        while page := log.read(connection, number, len(rows), 100_000):
            rows += page
    assert [row.offset for row in rows] == list(range(1, len(rows) + 1))
    there = {row.id: row.offset for row in rows}
    assert len(there) == len(rows)
    acknowledged = {
        id: offset
        for client in clients
        for (name, id), offset in client.acknowledged.items()
        if name == model
    }
    assert acknowledged and {id: there.get(id) for id in acknowledged} == acknowledged
    created = decode(rows[0].body)
    assert isinstance(created, Created)
    registered = Registered(number, model, len(rows), created, rows[0].at)
    live = replay(Source(database, registered, Event())).live
    expected = [live.reply(dict(probe)).answer.probabilities for probe in probes]
    wanted = [{str(k).lower(): v for k, v in (shares or {}).items()} for shares in expected]
    for server in servers:
        items = [{"features": probe, "min_offset": len(rows)} for probe in probes]
        reply = server.post(f"/v1/models/{model}/predict/batch", {"items": items})
        assert [item["probabilities"] for item in reply.body["items"]] == wanted
