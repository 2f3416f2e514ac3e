"""An endpoint of SageMaker is created, updated, checked and undone, against moto's server."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from domain.errors import DeploymentError, MissingExtraError
from infrastructure.deployment.sagemaker import Instances, SageMaker
from infrastructure.packaging.container_engine import ContainerEngine, run_command
from tests.golden_service import GOLDEN
from tests.sagemaker import Cloud, cloud

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
OLD, NEW, WRONG = (f"{REGISTRY}/iris@sha256:{digit * 64}" for digit in "abc")
INSTANCES = Instances("arn:aws:iam::123456789012:role/models")
DIGEST = f"sha256:{'d' * 64}"
ENGINE = f"""#!{sys.executable} -IS
import json, pathlib, sys
entry = [sys.argv[1:], sys.stdin.read() if "--password-stdin" in sys.argv else ""]
with (pathlib.Path(__file__).parent / "calls").open("a") as calls:
    print(json.dumps(entry), file=calls)
for argument in sys.argv:
    if argument.startswith("--digestfile="):
        pathlib.Path(argument.partition("=")[2]).write_text("{DIGEST}")
"""


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[Cloud]:
    with cloud() as found:
        yield found


@pytest.fixture(name="aws")
def _aws(server: Cloud) -> Cloud:
    server.reset()
    return server


@pytest.fixture(name="endpoint")
def _endpoint(aws: Cloud) -> SageMaker:
    assert aws
    return SageMaker("iris", INSTANCES, patience=5, interval=0.01)


def test_an_endpoint_is_created_with_the_image_and_its_port(
    aws: Cloud, endpoint: SageMaker
) -> None:
    endpoint.deploy(OLD, "1.0.0-a", GOLDEN)
    client = boto3.client("sagemaker")
    found = client.describe_endpoint(EndpointName="iris")
    config = client.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
    (variant,) = config["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.m5.large", 1)
    model = client.describe_model(ModelName=variant["ModelName"])
    assert model["PrimaryContainer"]["Image"] == OLD
    assert model["PrimaryContainer"]["Environment"]["PORT"] == "8080"
    assert model["ExecutionRoleArn"] == INSTANCES.role
    assert not aws.updates
    assert re.fullmatch(r"InService, iris-\d{13}, 1 instances", endpoint.status())


def test_an_update_changes_the_image(aws: Cloud, endpoint: SageMaker) -> None:
    endpoint.deploy(OLD, "1.0.0-a", GOLDEN)
    endpoint.deploy(NEW, "1.0.0-b", GOLDEN)
    assert aws.image("iris") == NEW
    (update,) = aws.updates
    assert "DeploymentConfig" not in update


def test_alarms_undo_an_update_within_sagemaker(aws: Cloud, endpoint: SageMaker) -> None:
    endpoint.deploy(OLD, "1.0.0-a", GOLDEN)
    watched = replace(INSTANCES, alarms=("errors", "latency"), bake_seconds=60)
    SageMaker("iris", watched, 5, 0.01).deploy(NEW, "1.0.0-b", GOLDEN)
    assert aws.updates[-1]["DeploymentConfig"] == {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 60}
        },
        "AutoRollbackConfiguration": {
            "Alarms": [{"AlarmName": "errors"}, {"AlarmName": "latency"}]
        },
    }


def test_wrong_golden_predictions_restore_the_previous_configuration(
    aws: Cloud, endpoint: SageMaker
) -> None:
    endpoint.deploy(OLD, "1.0.0-a", GOLDEN)
    aws.probabilities[WRONG] = 0.5
    with pytest.raises(DeploymentError, match=r"(?s)golden requests differ.*iris-\d+ serves again"):
        endpoint.deploy(WRONG, "1.0.0-c", GOLDEN)
    assert aws.image("iris") == OLD
    assert len(boto3.client("sagemaker").list_models()["Models"]) == 1  # that of OLD


def test_an_update_that_sagemaker_has_undone_is_an_error_with_its_reason(
    aws: Cloud, endpoint: SageMaker
) -> None:
    endpoint.deploy(OLD, "1.0.0-a", GOLDEN)
    aws.broken.add(NEW)
    with pytest.raises(DeploymentError, match="(?s)did not pass the ping .* serves again"):
        endpoint.deploy(NEW, "1.0.0-b", GOLDEN)
    assert len(aws.updates) == 1  # none to go back


@pytest.mark.parametrize("failure", ["broken", "wrong"])
def test_a_failed_first_deployment_leaves_nothing(
    aws: Cloud, endpoint: SageMaker, failure: str
) -> None:
    if failure == "broken":
        aws.broken.add(NEW)
    else:
        aws.probabilities[NEW] = 0.5
    with pytest.raises(DeploymentError, match="so the endpoint was deleted"):
        endpoint.deploy(NEW, "1.0.0-b", GOLDEN)
    assert endpoint.status() == ""
    assert not boto3.client("sagemaker").list_endpoint_configs()["EndpointConfigs"]


def test_rollback_goes_to_the_previous_configuration_that_worked(
    aws: Cloud, endpoint: SageMaker
) -> None:
    with pytest.raises(DeploymentError, match="there is no endpoint iris"):
        endpoint.rollback()
    endpoint.deploy(OLD, "1.0.0-a", GOLDEN)
    with pytest.raises(DeploymentError, match="no previous configuration"):
        endpoint.rollback()
    aws.probabilities[WRONG] = 0.5
    with pytest.raises(DeploymentError, match="differ"):
        endpoint.deploy(WRONG, "1.0.0-c", GOLDEN)
    endpoint.deploy(NEW, "1.0.0-b", GOLDEN)
    assert endpoint.rollback().startswith("iris-")
    assert aws.image("iris") == OLD


def test_stop_deletes_the_endpoint_with_its_configurations_and_models(
    aws: Cloud, endpoint: SageMaker
) -> None:
    other = SageMaker("iris-2", INSTANCES, 5, 0.01)
    other.deploy(NEW, "1.0.0-b", GOLDEN)
    endpoint.deploy(OLD, "1.0.0-a", GOLDEN)
    endpoint.deploy(NEW, "1.0.0-b", GOLDEN)
    assert endpoint.stop()
    assert not endpoint.stop()
    assert aws.image("iris-2") == NEW  # whose name begins like the other
    assert len(boto3.client("sagemaker").list_models()["Models"]) == 1


def test_logs_are_the_last_lines_of_all_containers(endpoint: SageMaker) -> None:
    client = boto3.client("logs")
    group = "/aws/sagemaker/Endpoints/iris"
    client.create_log_group(logGroupName=group)
    start = int(time.time() * 1000) - 1000
    for offset, stream in enumerate(("a", "b")):
        client.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [
            {"timestamp": start + 2 * line + offset, "message": f"{stream}{line}"}
            for line in range(3)
        ]
        client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    assert endpoint.logs(3) == "b1\na2\nb2\n"


def test_an_image_is_pushed_to_its_repository(
    endpoint: SageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "podman"
    program.write_text(ENGINE, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    engine = ContainerEngine("podman", run_command)
    for _ in range(2):  # the repository is made once
        reference = endpoint.push("iris_pipeline:1.0.0-a", engine, "iris")
        assert reference == f"{REGISTRY}/iris@{DIGEST}"
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text("utf-8").splitlines()]
    login, password = calls[0]
    assert login == ["login", "--username", "AWS", "--password-stdin", REGISTRY]
    assert password and password not in json.dumps([arguments for arguments, _ in calls])
    assert calls[1][0] == ["tag", "iris_pipeline:1.0.0-a", f"{REGISTRY}/iris:1.0.0-a"]


def test_a_transcriber_is_refused(endpoint: SageMaker) -> None:
    with pytest.raises(DeploymentError, match="cannot serve a transcriber"):
        endpoint.deploy(OLD, "1.0.0-a", replace(GOLDEN, recording=Path("golden.flac")))


def test_an_unreachable_aws_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(DeploymentError, match="AWS: Could not connect"):
        SageMaker("iris").status()


def test_a_missing_boto3_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtraError, match="SageMaker needs boto3"):
        SageMaker("iris")


@pytest.mark.parametrize("name", ["", "my_model", "-iris", "i" * 50])
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(DeploymentError, match="is not the name of an endpoint"):
        SageMaker(name)
