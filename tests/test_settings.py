"""Settings: from the environment and `.env`, bounded, and refused by the name of their variable."""

import os
import re
from pathlib import Path

import pytest

from app.errors import InvalidSettings
from app.settings import PREFIX, Settings, load_settings, unknown_variables


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting is given, and no `.env` stands in the working directory."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_there_is_nothing_to_set() -> None:
    assert load_settings().database_url == "sqlite:///headrace.db"


def test_every_setting_is_described_in_a_sentence() -> None:
    for name, field in Settings.model_fields.items():
        assert re.fullmatch(r"[A-Z].+\.", field.description or ""), name


def test_units_stand_last_in_a_name() -> None:
    for name, field in Settings.model_fields.items():
        if "second" in (field.description or ""):
            assert re.search(r"_seconds(_max)?$", name), name


def test_a_variable_sets_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODELS_MAX", "7")
    monkeypatch.setenv("HEADRACE_LOG_LEVEL", "debug")
    assert (load_settings().models_max, load_settings().log_level) == (7, "debug")


def test_a_dotenv_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("HEADRACE_MODELS_MAX=7\nHEADRACE_REQUESTS_MAX=8\nOTHER=1\n")
    monkeypatch.setenv("HEADRACE_MODELS_MAX", "9")
    assert (load_settings().models_max, load_settings().requests_max) == (9, 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELS_MAX", "0"),
        ("MODELS_MAX", "-1"),
        ("MODELS_MAX", "many"),
        ("MODELS_MAX", ""),
        ("MODELS_MAX", "1.5"),
        ("FEATURES_MAX", "1"),
        ("CLASSES_MAX", "1"),
        ("BODY_BYTES_MAX", "1023"),
        ("BODY_SECONDS_MAX", "0"),
        ("BODY_SECONDS_MAX", "nan"),
        ("NUMBER_MAGNITUDE_MAX", "inf"),
        ("NUMBER_MAGNITUDE_MAX", "1e301"),
        ("NUMBER_MAGNITUDE_MAX", "0"),
        ("PREDICTIONS_WRITE_MS", "101"),
        ("TAIL_POLL_SECONDS", "61"),
        ("DATABASE_BUSY_MS", "0"),
        ("LOG_LEVEL", "loud"),
        ("LOG_LEVEL", "INFO "),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert [problem.place for problem in caught.value.problems] == [PREFIX + name]
    assert repr(value) in caught.value.message
    assert caught.value.message.endswith("Mend or unset it, in the environment or in .env.")


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODELS_MAX", "0")
    monkeypatch.setenv("HEADRACE_REQUESTS_MAX", "x")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    places = {problem.place for problem in caught.value.problems}
    assert places == {"HEADRACE_MODELS_MAX", "HEADRACE_REQUESTS_MAX"}


def test_settings_are_never_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().models_max = 3  # type: ignore[misc]


def test_what_looks_like_a_setting_and_is_none_is_found_with_the_nearest() -> None:
    names = ["HEADRACE_MODEL_MAX", "HEADRACE_ZZZZ", "HEADRACE_MODELS_MAX", "PATH", "headrace_x"]
    assert unknown_variables(names) == {
        "HEADRACE_MODEL_MAX": "HEADRACE_MODELS_MAX",
        "HEADRACE_ZZZZ": None,
    }
    assert unknown_variables(["HEADRACE_TEST_FULL"]) == {}


def test_a_secret_that_is_too_short_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_SECRET", "tell-nobody")
    with pytest.raises(InvalidSettings, match=r"HEADRACE_SECRET: .*at least 16") as raised:
        load_settings()
    assert "tell-nobody" not in raised.value.message
    monkeypatch.setenv("HEADRACE_SECRET", "0123456789abcdef")
    assert "0123456789abcdef" not in repr(load_settings())
