"""The variables of a release: kept, or set by the shell, and never more open by accident."""

from __future__ import annotations

import pytest

from application.inference.api_keys import entry_of
from domain.errors import ConfigError, DeploymentError
from infrastructure.deployment.variables import explicit_variables, for_deployment, for_rollback
from shared.settings import InvalidSettingError

MINE, OTHER = entry_of("me", "key"), entry_of("other", "another key")
KEYS, PATHS, ORIGINS = "SERVING_API_KEYS", "SERVING_OPEN_PATHS", "SERVING_CORS_ORIGINS"


@pytest.fixture(name="shell", autouse=True)
def _shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A shell without any of these variables."""
    for name in (KEYS, PATHS, ORIGINS, "SERVING_MAX_ROWS", "PREDICTION_LOG_URL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_variables_of_the_shell_are_parsed_as_by_the_service(
    shell: pytest.MonkeyPatch,
) -> None:
    assert not explicit_variables()
    variables = {KEYS: MINE, "SERVING_MAX_ROWS": "5", "SERVING_MONITORING": "0", PATHS: ""}
    for name, value in {**variables, "PREDICTION_LOG_URL": "sqlite:////tmp/log.db"}.items():
        shell.setenv(name, value)
    assert explicit_variables() == {
        KEYS: MINE,
        "SERVING_MAX_ROWS": "5",
        "SERVING_MONITORING": "false",
        PATHS: "",  # no path is open: more protection, not less
        "PREDICTION_LOG_URL": "sqlite:////tmp/log.db",
    }


@pytest.mark.parametrize("value", ["", "  "])
def test_keys_that_are_empty_are_not_named(shell: pytest.MonkeyPatch, value: str) -> None:
    shell.setenv(KEYS, value)
    assert not explicit_variables()


def test_a_value_that_cannot_be_right_is_named(shell: pytest.MonkeyPatch) -> None:
    shell.setenv("SERVING_MAX_ROWS", "many")
    with pytest.raises(InvalidSettingError, match="^SERVING_MAX_ROWS: .*, got 'many'$"):
        explicit_variables()


def test_a_deployment_keeps_unset_variables(capsys: pytest.CaptureFixture[str]) -> None:
    before = {KEYS: MINE, "SERVING_MAX_ROWS": "5", PATHS: "/metrics"}
    named = {"SERVING_MAX_ROWS": "7", ORIGINS: "https://a.example"}
    kept = {KEYS: MINE, PATHS: "/metrics"}
    assert for_deployment(named, before) == {**kept, **named}
    assert f"{KEYS}, {PATHS}, as before" in capsys.readouterr().out
    assert for_deployment(named, {}) == named
    assert "as before" not in capsys.readouterr().out


@pytest.mark.parametrize("word", ["none", "None"])
def test_only_none_removes_api_keys(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert for_deployment({KEYS: word}, {KEYS: MINE, PATHS: ""}) == {PATHS: ""}
    assert "accepts requests without a key" in capsys.readouterr().out
    assert not for_deployment({KEYS: word}, None)
    assert not for_rollback({KEYS: word}, {KEYS: MINE}, {KEYS: MINE})


def test_keys_that_are_not_on_record_must_be_named() -> None:
    for resolve in (
        lambda named: for_deployment(named, None),
        lambda named: for_rollback(named, {}, None),
        lambda named: for_rollback(named, None, {}),
    ):
        with pytest.raises(DeploymentError, match=f"not on record: set {KEYS}, or {KEYS}=none"):
            resolve({"SERVING_MAX_ROWS": "7"})
        assert resolve({KEYS: MINE}) == {KEYS: MINE}


def test_a_malformed_key_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="SERVING_API_KEYS, entry 1"):
        for_deployment({KEYS: "secret"}, {})


def test_a_rollback_takes_the_variables_of_its_release_and_not_those_of_the_shell() -> None:
    previous = {"SERVING_MAX_ROWS": "5", "PREDICTION_LOG_URL": "sqlite:///a"}
    now, named = {"SERVING_MAX_ROWS": "7", "SERVING_QUEUE": "1"}, {"SERVING_MAX_ROWS": "9"}
    assert for_rollback(named, previous, now) == previous


@pytest.mark.parametrize(
    ("name", "previous", "now", "result"),
    [
        (KEYS, None, MINE, MINE),  # everybody would have access
        (KEYS, MINE, None, MINE),
        (KEYS, f"{MINE} {OTHER}", MINE, MINE),  # the other key was revoked since
        (KEYS, MINE, f"{MINE} {OTHER}", MINE),
        (KEYS, f"{MINE}:predict", MINE, MINE),
        (PATHS, "/metrics /predict", "/metrics", "/metrics"),
        (PATHS, None, "", ""),
        (PATHS, "", None, ""),
        (PATHS, "/predict", None, None),
        (ORIGINS, "https://a.example", None, None),
        (ORIGINS, None, "https://a.example", None),
        (ORIGINS, "https://a.example", "https://a.example https://b.example", "https://a.example"),
    ],
)
def test_a_rollback_never_lets_more_pass_than_now(
    name: str, previous: str | None, now: str | None, result: str | None
) -> None:
    there, here, expected = (
        {} if value is None else {name: value} for value in (previous, now, result)
    )
    assert for_rollback({}, there, here) == expected


def test_a_rollback_may_allow_more_access_if_the_shell_sets_it() -> None:
    now, named = {KEYS: MINE, ORIGINS: ""}, {KEYS: OTHER, ORIGINS: "https://a.example"}
    assert for_rollback(named, {}, now) == named
