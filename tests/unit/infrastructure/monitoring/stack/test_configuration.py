"""The files of the stack name the chosen ports and the webhook, and have no passwords."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infrastructure.monitoring.stack.configuration import FILES, Addresses, write_configuration

CHOSEN = Addresses("production", 3001, 9191, 9194, 3131, "https://chat/hooks?key=a:b#c")


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "build" / "monitor"
    write_configuration(folder, CHOSEN)
    return folder


def read(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_prometheus_scrapes_the_service_and_sends_alerts_to_alertmanager(folder: Path) -> None:
    config = read(folder / "prometheus.yml")
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [
        {"targets": ["127.0.0.1:3001"], "labels": {"environment": "production"}}
    ]
    (manager,) = config["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["127.0.0.1:9194"]}]
    assert [(folder / name).is_file() for name in config["rule_files"]] == [True]


def test_alerts_go_to_the_webhook(folder: Path) -> None:
    (receiver,) = read(folder / "alertmanager.yml")["receivers"]
    assert receiver["webhook_configs"] == [{"url": CHOSEN.webhook}]


def test_without_a_webhook_alerts_are_only_shown(tmp_path: Path) -> None:
    write_configuration(tmp_path, Addresses("staging", 3000))
    assert read(tmp_path / "alertmanager.yml")["receivers"] == [{"name": "team"}]


def test_only_this_user_may_read_the_webhook(folder: Path) -> None:
    assert folder.stat().st_mode & 0o077 == 0


def test_grafana_gets_the_data_source_and_both_dashboards(folder: Path) -> None:
    (source,) = read(folder / "grafana/datasources.yml")["datasources"]
    assert source["url"] == "http://127.0.0.1:9191"
    for title in ("service", "model"):
        path = folder / f"grafana/dashboards/{title}.json"
        made = json.loads(path.read_text(encoding="utf-8"))
        used = {panel["datasource"]["uid"] for panel in made["panels"]}
        assert (made["uid"], used) == (title, {source["uid"]})


def test_containers_are_pinned_and_listen_on_this_machine_only(folder: Path) -> None:
    text = (folder / "compose.yml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    assert set(services) == {"prometheus", "alertmanager", "grafana"}
    for service in services.values():
        assert re.search(r":v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}$", service["image"])
        assert service["network_mode"] == "host" and "ports" not in service
        assert service["healthcheck"]["test"]
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith("./") or (folder / source).exists(), volume
    assert "--web.listen-address=127.0.0.1:9191" in services["prometheus"]["command"]
    assert "--web.listen-address=127.0.0.1:9194" in services["alertmanager"]["command"]
    grafana = services["grafana"]["environment"]
    assert (grafana["GF_SERVER_HTTP_ADDR"], grafana["GF_SERVER_HTTP_PORT"]) == ("127.0.0.1", "3131")


def test_grafana_has_no_account_and_no_password(folder: Path) -> None:
    grafana = read(folder / "compose.yml")["services"]["grafana"]["environment"]
    assert grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in grafana if "PASSWORD" in name]


def test_written_again_the_files_follow_other_ports(folder: Path) -> None:
    write_configuration(folder, Addresses("staging", 3000))
    config = read(folder / "prometheus.yml")
    assert config == read(FILES / "prometheus.yml")
