"""State is kept inside the clone by default, and the environment can move it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared import settings as settings_module
from shared.paths import ROOT
from shared.settings import (
    InvalidSettingError,
    MonitorSettings,
    ProcessSettings,
    ServingSettings,
    Settings,
)

FOLDERS = {
    "MODEL_REGISTRY_DIR": "packages_dir",
    "BENTOML_HOME": "bento_home",
    "RECEIPTS_DIR": "receipts_dir",
    "RELEASES_DIR": "releases_dir",
    "LEDGER": "ledger",
}
DATABASES = {"MLFLOW_TRACKING_URI": "tracking_uri", "PREDICTION_LOG_URL": "prediction_log_url"}
WHISPER = {"WHISPER_MODEL": "whisper_model", "WHISPER_DOWNLOAD": "whisper_download"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*FOLDERS, *DATABASES, *WHISPER):
        monkeypatch.delenv(name, raising=False)


def settings(env_file: Path | None = None) -> Settings:
    """Settings from the environment and this .env file instead of the clone's."""
    return Settings(_env_file=env_file)  # type: ignore[call-arg]


def test_all_state_lies_inside_the_clone_by_default() -> None:
    defaults = settings()
    assert defaults.packages_dir == ROOT / "application/registry/model_registry"
    assert defaults.bento_home == ROOT / ".bentoml"
    assert defaults.receipts_dir == ROOT / "build"
    assert defaults.releases_dir == ROOT / ".releases"
    assert defaults.ledger == ROOT / "ledger.jsonl"
    assert defaults.tracking_uri == f"sqlite:///{ROOT}/mlflow.db"
    assert defaults.prediction_log_url is None


def test_every_setting_is_tested_here() -> None:
    assert set(Settings.model_fields) == {
        *FOLDERS.values(),
        *DATABASES.values(),
        *WHISPER.values(),
        "snapshots",
        "api_key",
    }


def test_the_key_for_services_elsewhere_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "a key")
    assert settings().api_key == "a key" and "a key" not in repr(settings())


def test_snapshots_lie_in_a_folder_or_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_SNAPSHOTS", raising=False)
    assert settings().snapshots == str(ROOT / "snapshots")
    for value, expected in {"data": str(ROOT / "data"), "s3://b/x": "s3://b/x"}.items():
        monkeypatch.setenv("DATA_SNAPSHOTS", value)
        assert settings().snapshots == expected
    monkeypatch.setenv("DATA_SNAPSHOTS", "ftp://b/x")
    with pytest.raises(ValidationError, match="use a folder, s3://bucket/folder"):
        settings()


@pytest.mark.parametrize(("variable", "field"), FOLDERS.items())
def test_the_environment_moves_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, field: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    assert getattr(settings(), field) == tmp_path


@pytest.mark.parametrize(("variable", "field"), FOLDERS.items())
def test_a_relative_folder_is_relative_to_the_clone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, field: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "state/here")
    assert getattr(settings(), field) == ROOT / "state/here"


TRACKING, LOG = DATABASES.items()


@pytest.mark.parametrize(
    ("variable", "field", "value", "resolved"),
    [
        (*TRACKING, "sqlite:///state/some.db", f"sqlite:///{ROOT}/state/some.db"),
        (*TRACKING, "sqlite:////var/some.db", "sqlite:////var/some.db"),
        (*TRACKING, "http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        (*TRACKING, "postgresql://user@db/predictions", "postgresql://user@db/predictions"),
        (*LOG, "sqlite:///state/some.db", f"sqlite:///{ROOT}/state/some.db"),
        (*LOG, "sqlite:////var/some.db", "sqlite:////var/some.db"),
        (*LOG, "", None),
    ],
)
def test_a_relative_sqlite_file_is_relative_to_the_clone(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    field: str,
    value: str,
    resolved: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)
    assert getattr(settings(), field) == resolved


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("garbage", "Could not parse"),
        ("http://127.0.0.1:5000", "http"),
        ("nosuch://u:secret@host/log", "nosuch"),
        ("oracle://u:secret@host/log", "oracledb"),
        ("postgresql://u:p@host:secret/log", "the port is not a number"),
    ],
)
def test_a_prediction_log_that_no_driver_can_open_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    monkeypatch.setenv("PREDICTION_LOG_URL", url)
    with pytest.raises(InvalidSettingError, match=f"^PREDICTION_LOG_URL: .*{reason}") as caught:
        Settings.load()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("variable", ["WORKERS", "AIP_HTTP_PORT"])
@pytest.mark.parametrize("value", ["abc", "0", "-1", "1.5"])
def test_an_invalid_number_of_workers_or_port_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettingError, match=f"^{variable}: .*, got '{value}'$"):
        ProcessSettings.load()


def test_workers_and_port_are_read_and_empty_ones_are_the_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for workers, port, expected in (("4", "8080", (4, 8080)), ("", "", (1, 3000))):
        monkeypatch.setenv("WORKERS", workers)
        monkeypatch.setenv("AIP_HTTP_PORT", port)
        read = ProcessSettings.load()
        assert (read.workers, read.port) == expected


def test_an_env_file_sets_places_and_its_other_lines_are_left_alone(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("RECEIPTS_DIR=receipts\nPORT=3001\n", encoding="utf-8")
    assert settings(env_file).receipts_dir == ROOT / "receipts"


def test_the_environment_goes_before_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("RECEIPTS_DIR=receipts\n", encoding="utf-8")
    monkeypatch.setenv("RECEIPTS_DIR", "elsewhere")
    assert settings(env_file).receipts_dir == ROOT / "elsewhere"


def test_a_mounted_secret_is_read_unless_the_environment_sets_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SERVING_API_KEYS", raising=False)
    monkeypatch.setattr(settings_module, "SECRETS", tmp_path)
    (tmp_path / "prediction_log_url").write_text("sqlite:////logs/a.db\n", encoding="utf-8")
    (tmp_path / "serving_api_keys").write_text("shop:abc", encoding="utf-8")
    assert Settings.load().prediction_log_url == "sqlite:////logs/a.db"
    assert ServingSettings.load().api_keys == "shop:abc"
    monkeypatch.setenv("SERVING_API_KEYS", "other:abc")
    assert ServingSettings.load().api_keys == "other:abc"


def test_the_env_file_is_that_of_the_clone() -> None:
    assert Settings.model_config["env_file"] == ROOT / ".env"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().receipts_dir = Path("elsewhere")  # type: ignore[misc]


def test_whisper_downloads_nothing_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (settings().whisper_model, settings().whisper_download) == (None, False)
    monkeypatch.setenv("WHISPER_MODEL", "base")
    monkeypatch.setenv("WHISPER_DOWNLOAD", "1")
    assert (settings().whisper_model, settings().whisper_download) == ("base", True)


@pytest.mark.parametrize("kind", [Settings, ServingSettings])
def test_an_env_file_that_is_not_utf_8_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Settings | ServingSettings]
) -> None:
    file = tmp_path / ".env"
    monkeypatch.setitem(kind.model_config, "env_file", file)
    file.write_text("A=1", encoding="utf-16")
    with pytest.raises(InvalidSettingError, match=f"^{file} is not UTF-8: save it as UTF-8$"):
        kind.load()


def test_the_monitoring_stack_has_the_usual_ports_and_no_webhook_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT", "ALERT_WEBHOOK_URL")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monitor = MonitorSettings(_env_file=None)  # type: ignore[call-arg]
    assert (monitor.prometheus_port, monitor.alertmanager_port) == (9090, 9093)
    assert monitor.grafana_port != ProcessSettings(_env_file=None).port  # type: ignore[call-arg]
    assert monitor.alert_webhook_url == ""
    monkeypatch.setenv("ALERT_WEBHOOK_URL", "chat.example.com")
    with pytest.raises(InvalidSettingError, match="ALERT_WEBHOOK_URL"):
        MonitorSettings.load()


def test_the_example_of_an_env_file_has_every_setting_with_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    shown = [line.removeprefix("# ") for line in lines if re.match(r"# [A-Z_]+=", line)]
    kinds: list[Any] = [Settings, ProcessSettings, ServingSettings, MonitorSettings]
    names = [
        str(field.validation_alias or kind.model_config.get("env_prefix", "") + name).upper()
        for kind in kinds
        for name, field in kind.model_fields.items()
    ]
    assert sorted(line.partition("=")[0] for line in shown) == sorted(names)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / ".env"
    file.write_text("\n".join(shown), encoding="utf-8")
    for kind in kinds:
        assert kind(_env_file=file) == kind(_env_file=None)
