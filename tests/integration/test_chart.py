"""The Helm chart passes Helm's own checks and those of Kubernetes, and refuses unsafe values."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from infrastructure.deployment.kubernetes import CHART
from infrastructure.monitoring.stack.configuration import FILES
from tests.kubernetes_tools import NEWEST, Resource, Tools, kubernetes_tools

IMAGE = f"registry.example.org/iris@sha256:{'a' * 64}"
SMALL = {"image": IMAGE}
FULL = {
    "image": IMAGE,
    "version": "1.0.0-20261201-024609-929790",
    "environment": "production",
    "imagePullSecrets": [{"name": "registry"}],
    "secret": "iris",
    "env": {"SERVING_MAX_ROWS": "1000"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "models", "operator": "Exists"}],
    "autoscaling": {"enabled": True},
    "disruptionBudget": {"enabled": True},
    "networkPolicy": {
        "enabled": True,
        "from": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway"}}}
        ],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 5432}]}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "route": {
        "enabled": True,
        "parentRefs": [{"name": "public", "namespace": "gateway"}],
        "hostnames": ["iris.example.org"],
        "canary": {"service": "iris-canary", "weight": 10},
    },
}
OF_OPERATORS = {"HTTPRoute", "ServiceMonitor", "PrometheusRule"}  # not Kubernetes' own
KINDS = OF_OPERATORS | {
    *("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"),
}


@pytest.fixture(scope="module", name="tools")
def _tools(nightly: bool) -> Tools:
    return kubernetes_tools(nightly)


@pytest.fixture(scope="module", name="full")
def _full(tools: Tools) -> dict[str, Resource]:
    """Every resource that the chart can make, by kind."""
    return {each["kind"]: each for each in tools.render(FULL)}


@pytest.mark.parametrize("values", [SMALL, FULL], ids=["small", "full"])
def test_helm_finds_nothing_to_criticise(tools: Tools, values: Any) -> None:
    done = tools.run_helm("lint", "--strict", str(CHART), values=values)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", NEWEST)
@pytest.mark.parametrize("values", [SMALL, FULL], ids=["small", "full"])
def test_resources_are_valid_for_the_newest_versions_of_kubernetes(
    tools: Tools, tmp_path: Path, values: Any, version: str
) -> None:
    own = [each for each in tools.render(values) if each["kind"] not in OF_OPERATORS]
    file = tmp_path / "resources.yaml"
    file.write_text(yaml.safe_dump_all(own), encoding="utf-8")
    done = tools.validate(file, version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") + done.stderr.count("passed") == len(own)


def test_a_mistake_is_invalid(tools: Tools, tmp_path: Path) -> None:
    deployment = next(each for each in tools.render(SMALL) if each["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    file = tmp_path / "resources.yaml"
    file.write_text(yaml.safe_dump(deployment), encoding="utf-8")
    assert tools.validate(file, NEWEST[0]).returncode != 0


def test_options_add_one_resource_each(tools: Tools, full: dict[str, Resource]) -> None:
    assert set(full) == KINDS
    assert {each["kind"] for each in tools.render(SMALL)} == {"Deployment", "Service"}
    without = tools.render({**SMALL, "service": {"enabled": False}})
    assert [each["kind"] for each in without] == ["Deployment"]


def test_pods_are_restricted(full: dict[str, Resource]) -> None:
    pod = full["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]


def test_a_pod_has_time_to_drain_and_to_answer(tools: Tools) -> None:
    (deployment,) = [
        each
        for each in tools.render({**SMALL, "drainSeconds": 20, "deadlineSeconds": 100})
        if each["kind"] == "Deployment"
    ]
    pod = deployment["spec"]["template"]["spec"]
    variables = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    assert variables["SERVING_DRAIN_SECONDS"] == "20"
    assert variables["SERVING_DEADLINE_SECONDS"] == "100"
    assert pod["terminationGracePeriodSeconds"] > 20 + 100


def test_secrets_are_referred_to_by_name(full: dict[str, Resource]) -> None:
    (container,) = full["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "iris"}}]


def test_the_autoscaler_decides_the_number_of_pods(full: dict[str, Resource]) -> None:
    assert "replicas" not in full["Deployment"]["spec"]
    target = full["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == full["Deployment"]["metadata"]["name"]


def test_every_selector_finds_the_pods(full: dict[str, Resource]) -> None:
    labels = full["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        full["Deployment"]["spec"]["selector"]["matchLabels"],
        full["Service"]["spec"]["selector"],
        full["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        full["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector and selector.items() <= labels for selector in selectors)
    monitored = full["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items()
    assert monitored <= full["Service"]["metadata"]["labels"].items()


def test_alert_rules_are_those_of_the_stack(full: dict[str, Resource]) -> None:
    own = yaml.safe_load((FILES / "rules.yml").read_text(encoding="utf-8"))
    assert full["PrometheusRule"]["spec"] == own


def test_metrics_have_the_labels_that_the_rules_need(full: dict[str, Resource]) -> None:
    (endpoint,) = full["ServiceMonitor"]["spec"]["endpoints"]
    labels = {each["targetLabel"]: each["replacement"] for each in endpoint["relabelings"]}
    assert labels == {"job": "models", "environment": "production"}


def test_the_canary_gets_its_weight_and_the_release_the_rest(
    tools: Tools, full: dict[str, Resource]
) -> None:
    (rule,) = full["HTTPRoute"]["spec"]["rules"]
    assert rule["backendRefs"] == [
        {"name": "iris", "port": 80, "weight": 90},
        {"name": "iris-canary", "port": 80, "weight": 10},
    ]
    alone = copy.deepcopy(FULL)
    alone["route"]["canary"] = {"service": "", "weight": 0}  # type: ignore[index]
    (route,) = [each for each in tools.render(alone) if each["kind"] == "HTTPRoute"]
    assert route["spec"]["rules"][0]["backendRefs"] == [{"name": "iris", "port": 80, "weight": 100}]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image": ""}, "image"),
        ({"imag": "x"}, "imag"),
        ({"env": {"SERVING_API_KEYS": "shop:0123"}}, "SERVING_API_KEYS"),
        ({"env": {"PREDICTION_LOG_URL": "postgresql://ann:secret@db/log"}}, "PREDICTION_LOG_URL"),
        ({"runAsUser": 0}, "runAsUser"),
        ({"resources": {"limits": None}}, "limits"),
        ({"route": {"enabled": True}}, "parentRefs"),
        ({"route": {"canary": {"weight": 5}}}, "service"),
        ({"route": {"canary": {"service": "canary", "weight": 101}}}, "weight"),
    ],
)
def test_unsafe_and_unknown_values_are_refused(tools: Tools, values: Any, message: str) -> None:
    done = tools.run_helm("template", "iris", str(CHART), values={**SMALL, **values})
    assert done.returncode != 0
    assert message in done.stderr
