"""States: small, exact, and read back only if they name nothing but what learners are made of.

That every learner goes on from its state to the last bit is held by `test_exactness.py`.
"""

import os
import pickle
import random
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from river import datasets, forest, naive_bayes, proba, stats
from river.utils import VectorDict

from app.entries import Created
from app.live import LiveModel
from learners.learner import Learner
from learners.rehearsal import learn
from learners.spec import build, complete
from learners.states import FRAME_BYTES, StateRefused, dump, lean, load
from tests.learners.roster import stream


class Runs:
    """Runs a command when it is read by a plain unpickler."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> Any:
        return self.call, self.args


def taught(spec: Any, n: int = 300) -> Any:
    """A learner that learned a stream of numbers."""
    learner: Any = build(complete(spec, "binary", seed=1))
    for x, y in stream("numbers", "binary", n):
        learn(learner, x, y, "binary")
    return learner


@pytest.mark.parametrize(
    "evil",
    [
        b"cos\nsystem\n(S'touch {mark}'\ntR.",
        b"cposix\nsystem\n(S'touch {mark}'\ntR.",
        # Protocol 4 takes dots in a name as steps, and River's modules have imported much.
        b"\x80\x04\x8c\x13river.datasets.base\x8c\tos.system\x93\x8c{size}touch {mark}\x85R.",
        b'cbuiltins\neval\n(S\'open("{mark}", "w")\'\ntR.',
        b"cbuiltins\n__import__\n(S'os'\ntR.",
        b"csubprocess\nPopen\n(S'touch {mark}'\ntR.",
        b"cfunctools\npartial\n(cos\nsystem\nS'touch {mark}'\ntR.",
        b"ccopy\ndeepcopy\n(cos\nsystem\ntR.",
        b"cbuiltins\ngetattr\n(cos\nS'system'\ntR.",
        b"cbuiltins\ngetattr\n(cbuiltins\nstr\nS'format'\ntR.",
        b"cbuiltins\ngetattr\n(cbuiltins\ndict\nS'__class__'\ntR.",
        b"criver.stats.mean\nMean.__init__.__globals__\n.",
        b"criver.datasets.base\nRemoteDataset\n.",
        b"clearners.spec\ncomplete\n.",
        b"clearners.states\nload\n.",
        b"cnumpy\nload\n(S'{mark}'\ntR.",
        b"cnumpy._core.multiarray\nfromfile\n(S'{mark}'\ntR.",
        b"ccopyreg\n_reconstructor\n(cbuiltins\nobject\ncbuiltins\nobject\nNtR.",
    ],
)
def test_what_names_anything_else_is_refused_and_nothing_of_it_runs(
    evil: bytes, tmp_path: Path
) -> None:
    mark = str(tmp_path / "mark")
    body = evil.replace(b"{size}", bytes([len(f"touch {mark}")])).replace(b"{mark}", mark.encode())
    with pytest.raises(StateRefused):
        load(body)
    assert not os.path.exists(mark)


@pytest.mark.parametrize("call", [os.system, os.popen, eval, exec, pickle.loads, __import__])
def test_a_call_inside_a_learners_state_is_refused(call: Any) -> None:
    learner = taught("naive_bayes.GaussianNB")
    learner.hidden = Runs(call, "1")
    with pytest.raises(StateRefused, match="which no learner is made of"):
        load(pickle.dumps(learner))


def test_a_data_set_is_no_part_of_a_learner() -> None:
    with pytest.raises(StateRefused, match="Phishing"):
        load(pickle.dumps({"learner": stats.Mean(), "rows": datasets.Phishing()}))


def test_a_class_of_the_service_is_read_only_where_it_is_said_to_be_one() -> None:
    spec = complete("naive_bayes.GaussianNB", "binary", seed=1)
    created = Created("m", "binary", spec, [], {}, "prior", "")
    kept = dump(created)
    with pytest.raises(StateRefused, match=r"app\.entries\.Created"):
        load(kept)
    with pytest.raises(StateRefused, match=r"app\.entries\.Created"):
        load(kept, own=(LiveModel,))


def test_damaged_bytes_are_refused_or_harmless() -> None:
    """Whatever a bit does, no other exception leaves."""
    whole = dump(Learner(complete("forest.ARFClassifier", "binary", seed=1), "binary", []))
    chance = random.Random(5)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        try:
            load(bytes(damaged))
        except StateRefused:
            refused += 1
    assert refused > 50
    for end in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        with pytest.raises(StateRefused):
            load(whole[:end])


def test_a_panic_of_rivers_rust_core_is_a_refusal() -> None:
    weights: Any = VectorDict({"a": 1.0})
    assert load(dump(weights)).to_dict() == {"a": 1.0}
    with pytest.raises(StateRefused, match="damaged"):
        load(b"criver._river_rust.stats\nRsQuantile\n(S'x'\ntR.")


def test_what_no_bytes_can_hold_is_refused() -> None:
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    for state in (deep, lambda: None, open(os.devnull)):
        with pytest.raises(StateRefused, match="cannot be kept"):
            dump(state)
        if hasattr(state, "close"):
            state.close()
    while deep:
        deep = deep.pop()


def test_a_forest_is_a_tenth_of_its_pickle() -> None:
    learner = taught({"forest.ARFClassifier": {"n_models": 5}}, 1_000)
    assert isinstance(learner, forest.ARFClassifier)
    assert len(dump(learner)) < len(pickle.dumps(learner)) / 8


def test_a_lean_state_is_read_in_small_frames_with_a_rest_before_each() -> None:
    model = taught("forest.ARFClassifier", 1_000)
    state = dump(model)
    small = lean(state)
    assert len(small) < len(state)
    rests = []
    assert dump(load(small, rest=lambda: rests.append(1))) == dump(load(state))
    assert len(rests) >= len(small) / (2 * FRAME_BYTES)
    assert lean(small) == small


def test_what_is_shared_is_shared_in_a_lean_state() -> None:
    one, text = [1.0], "a text that is no name"
    itself: list[Any] = [one, text]
    itself += [itself, one, text]
    found = load(lean(dump(itself)))
    assert found[2] is found and found[0] is found[3] and found[1] is found[4]


@pytest.mark.parametrize("huge", ["x" * 100_000, b"x" * 200_000, list(range(70_000))])
def test_what_is_larger_than_a_frame_comes_back(huge: Any) -> None:
    assert load(lean(dump([huge, 1, huge]))) == [huge, 1, huge]


def test_distributions_that_are_seeded_keep_their_generator() -> None:
    seeded: Any = proba.Gaussian(seed=3)  # type: ignore[no-untyped-call]
    for value in (1.0, 2.0, 4.0):
        seeded.update(value)
    kept = load(dump(seeded))
    assert [kept.sample() for _ in range(3)] == [seeded.sample() for _ in range(3)]


GAUSSIAN = b"criver.naive_bayes.gaussian\nGaussianNB\n"
PATCHES = {
    "an attribute of a class": GAUSSIAN + b"(N}S'learn_one'\nI1\nstb.",
    "a new one": GAUSSIAN + b"(N}S'harmless'\nI1\nstb.",
    "one of a parameter": b"criver.stats.mean\nMean\n(N}S'get'\nNstb0I1\n.",
    "a function": b"criver.naive_bayes.gaussian\nGaussianNB._make_gaussian\n(N}S'x'\nI1\nstb.",
    "its defaults": b"ccopy\ndeepcopy\n(N}S'__defaults__'\n(I1\nI2\ntstb.",
    "a function's dict": b"ccopy\ndeepcopy\n}S'x'\nI1\nsb.",
    "by the restorer": b"clearners.states\n_restore_distribution\n"
    b"(ccopy\ndeepcopy\n}S'x'\nI1\nstR.",
}


@pytest.mark.parametrize("how", PATCHES)
def test_a_state_that_changes_what_it_names_is_refused_and_that_is_undone(how: str) -> None:
    named = (naive_bayes.GaussianNB, stats.Mean, naive_bayes.GaussianNB._make_gaussian, deepcopy)
    before = [dict(vars(thing)) for thing in named]
    defaults = deepcopy.__defaults__
    with pytest.raises(StateRefused):
        load(PATCHES[how])
    assert [dict(vars(thing)) for thing in named] == before
    assert deepcopy.__defaults__ == defaults
    assert load(dump(taught("naive_bayes.GaussianNB"))) is not None


@pytest.mark.parametrize(
    "torn",
    [
        *(b"", b".", b"N", b"\x80", b"\x80\x06N.", b"\x82\x01.", b"P0\n.", b"I0\nQ."),
        *(b"\x8f(N\x90", b"(" * 10_000, b"]" * 5_000 + b"a" * 5_000, b"\x8d" + b"\xff" * 8),
        *(b"I" + b"9" * 6_000 + b"\n.", b"j\xff\xff\xff\xff.", b"cnumpy\nones\n)R."),
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    ],
)
def test_what_is_no_state_is_refused(torn: bytes) -> None:
    with pytest.raises(StateRefused):
        load(torn)


def test_a_state_with_a_flipped_bit_is_refused_or_harmless() -> None:
    learner = taught(["preprocessing.StandardScaler", "naive_bayes.GaussianNB"], 50)
    kept = dump(learner)
    draw = random.Random(3)
    for _ in range(300):
        place = draw.randrange(len(kept))
        flipped = kept[:place] + bytes([kept[place] ^ (1 << draw.randrange(8))]) + kept[place + 1 :]
        with suppress(StateRefused):
            load(flipped)
    x = {"a": 1.0, "b": -1.0}
    assert load(kept).predict_proba_one(x) == learner.predict_proba_one(x)


@pytest.mark.parametrize(
    "spec", ["tree.HoeffdingTreeClassifier", "forest.ARFClassifier", "linear_model.Perceptron"]
)
def test_a_learner_of_no_more_use_is_taken_apart_to_the_last_leaf(spec: str) -> None:
    learner = Learner(complete(spec, "binary", seed=1), "binary", [])
    for x, y in stream("numbers", "binary", 2_000):
        learner.learn(x, y)
    before = len(pickle.dumps(learner))
    parts = sum(1 for _ in learner.parts())
    assert parts >= 1
    if spec != "linear_model.Perceptron":
        assert len(pickle.dumps(learner)) < before / 4
