"""Deploy an image to an endpoint of Amazon SageMaker.

An update starts the new version next to the old one, and SageMaker switches when it is healthy. If
an alarm fires meanwhile, SageMaker goes back; if golden predictions are wrong, this module does.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from application.inference.predictor import check_golden
from domain.errors import DeploymentError, MissingExtraError, PackageError
from infrastructure.deployment.golden import Golden
from infrastructure.packaging.container_engine import ContainerEngine
from shared.console import show_step

PORT = 8080  # where SageMaker sends /ping and /invocations
VARIANT = "AllTraffic"
CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack")
LOG_GROUP = "/aws/sagemaker/Endpoints/{name}"


@dataclass(frozen=True)
class Instances:
    """What an endpoint runs on.

    Attributes:
        role: ARN of the role that SageMaker assumes, which may read the image.
        kind: such as ml.m5.large.
        alarms: names of CloudWatch alarms; if one fires during an update, SageMaker goes back.
        bake_seconds: how long the alarms are watched after the switch.
    """

    role: str
    kind: str = "ml.m5.large"
    count: int = 1
    alarms: Sequence[str] = ()
    bake_seconds: int = 300


class SageMaker:
    """An endpoint, in the account and region of the environment's AWS settings.

    Args:
        name: of the endpoint: at most 49 letters, digits and hyphens.
        instances: what it runs on; not needed to stop it or to look at it.
        patience: seconds that a rollout may take.
        interval: seconds between two looks at a rollout.

    Raises:
        MissingExtraError: boto3 is not installed.
        DeploymentError: the name is invalid.
    """

    def __init__(
        self,
        name: str,
        instances: Instances | None = None,
        patience: float = 3600.0,
        interval: float = 10.0,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,48}", name):
            raise DeploymentError(
                f"{name!r} is not the name of an endpoint: use at most 49 letters, digits and "
                "hyphens"
            )
        try:
            self._boto3 = import_module("boto3")
        except ImportError as error:
            raise MissingExtraError(
                "SageMaker needs boto3, which is not installed: make install-dev has it"
            ) from error
        self._name = name
        self._instances = instances
        self._patience = patience
        self._interval = interval
        self._clients: dict[str, Any] = {}

    def push(self, image: str, engine: ContainerEngine, repository: str) -> str:
        """Push an image to a repository of ECR, which is made if it does not exist.

        Returns:
            Its reference with the digest.

        Raises:
            DeploymentError: AWS refuses.
            BuildError: the engine could not push.
        """
        ecr = self._client("ecr")
        try:
            self._call(ecr.create_repository, repositoryName=repository)
        except DeploymentError as error:
            if "RepositoryAlreadyExistsException" not in str(error):
                raise
        found = self._call(ecr.describe_repositories, repositoryNames=[repository])
        target = found["repositories"][0]["repositoryUri"]
        token = self._call(ecr.get_authorization_token)["authorizationData"][0]
        user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
        _login(engine.name, target.partition("/")[0], user, password)
        tag = image.rpartition(":")[2]
        return f"{target}@{engine.push(image, f'{target}:{tag}')}"

    def deploy(self, reference: str, version: str, golden: Golden) -> None:
        """Create or update the endpoint; go back if the new version fails.

        Args:
            reference: of the image in ECR, with its digest.
            version: of its model.
            golden: what it must predict.

        Raises:
            DeploymentError: the deployment failed; the message has the reason and what was done.
        """
        if golden.recording:
            raise DeploymentError("SageMaker cannot serve a transcriber: it has no /invocations")
        before = self._describe()
        if before and before["EndpointStatus"] in CHANGING:
            raise DeploymentError(
                f"{self._name} is {before['EndpointStatus']}: another deployment is in progress"
            )
        config = self._create_config(reference, version)
        show_step("start", f"{reference} as {config}")
        try:
            self._switch(config, new=before is None)
            self._check_golden(golden)
        except DeploymentError as error:
            raise DeploymentError(f"{error}\n{self._undo(before, config)}") from error
        show_step("ready", "golden predictions reproduced")
        show_step("switched", f"endpoint {self._name} now serves {version}")

    def rollback(self) -> str:
        """Update the endpoint to the configuration before the current one.

        Returns:
            The name of that configuration.

        Raises:
            DeploymentError: it is missing, or the update failed.
        """
        current = self._describe()
        if current is None:
            raise DeploymentError(f"there is no endpoint {self._name}")
        earlier = [each for each in self._configs() if each < current["EndpointConfigName"]]
        if not earlier:
            raise DeploymentError("there is no previous configuration to go back to")
        self._switch(earlier[-1], new=False)
        show_step("switched", f"endpoint {self._name} to {earlier[-1]}")
        return earlier[-1]

    def stop(self) -> bool:
        """Delete the endpoint with its configurations and models.

        Returns:
            Whether there was an endpoint.
        """
        found = self._describe() is not None
        if found:
            self._call(self._sagemaker.delete_endpoint, EndpointName=self._name)
        for config in self._configs():
            self._delete_config(config)
        return found

    def status(self) -> str:
        """What is deployed, in one line; empty if nothing is."""
        found = self._describe()
        if found is None:
            return ""
        counts = [each.get("CurrentInstanceCount", 0) for each in found["ProductionVariants"]]
        parts = (found["EndpointStatus"], found["EndpointConfigName"], f"{sum(counts)} instances")
        return ", ".join([*parts, *filter(None, [found.get("FailureReason")])])

    def logs(self, lines: int = 100) -> str:
        """The last lines of the endpoint's containers."""
        group = LOG_GROUP.format(name=self._name)
        logs = self._client("logs")
        streams = self._call(
            logs.describe_log_streams, logGroupName=group, orderBy="LastEventTime", descending=True
        )["logStreams"]
        events = [
            event
            for stream in streams[:10]
            for event in self._call(
                logs.get_log_events,
                logGroupName=group,
                logStreamName=stream["logStreamName"],
                limit=lines,
            )["events"]
        ]
        events.sort(key=lambda event: event["timestamp"])
        return "".join(f"{event['message'].rstrip()}\n" for event in events[-lines:])

    @property
    def _sagemaker(self) -> Any:
        return self._client("sagemaker")

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._boto3.client(service)
        return self._clients[service]

    def _create_config(self, reference: str, version: str) -> str:
        """Create a model and an endpoint configuration of the same name, and return that."""
        if self._instances is None:
            raise DeploymentError("what the endpoint runs on is not set")
        name = f"{self._name}-{time.time_ns() // 1_000_000}"  # sorted by time
        variables = {"PORT": str(PORT), "SERVING_ENVIRONMENT": self._name}
        tags = [{"Key": "model-version", "Value": version}]
        self._call(
            self._sagemaker.create_model,
            ModelName=name,
            PrimaryContainer={"Image": reference, "Environment": variables},
            ExecutionRoleArn=self._instances.role,
            Tags=tags,
        )
        variant = {
            "VariantName": VARIANT,
            "ModelName": name,
            "InstanceType": self._instances.kind,
            "InitialInstanceCount": self._instances.count,
            "InitialVariantWeight": 1.0,
        }
        self._call(
            self._sagemaker.create_endpoint_config,
            EndpointConfigName=name,
            ProductionVariants=[variant],
            Tags=tags,
        )
        return name

    def _switch(self, config: str, new: bool) -> None:
        """Create or update the endpoint, and wait until it serves a configuration."""
        names = {"EndpointName": self._name, "EndpointConfigName": config}
        if new:
            self._call(self._sagemaker.create_endpoint, **names)
        else:
            self._call(self._sagemaker.update_endpoint, **names, **self._update_options())
        deadline = time.monotonic() + self._patience
        while (found := self._describe()) and found["EndpointStatus"] in CHANGING:
            if time.monotonic() > deadline:
                raise DeploymentError(f"{self._name} was not ready within {self._patience:.0f} s")
            time.sleep(self._interval)
        if found is None:
            raise DeploymentError(f"the endpoint {self._name} was deleted meanwhile")
        if found["EndpointStatus"] != "InService" or found["EndpointConfigName"] != config:
            reason = found.get("FailureReason") or "SageMaker went back and gave no reason"
            raise DeploymentError(f"{self._name} is {found['EndpointStatus']}: {reason}")

    def _update_options(self) -> dict[str, Any]:
        """Options of an update: what SageMaker does if an alarm fires."""
        instances = self._instances
        if instances is None or not instances.alarms:
            return {}
        traffic = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": instances.bake_seconds}
        policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": traffic}}
        alarms = [{"AlarmName": name} for name in instances.alarms]
        return {"DeploymentConfig": {**policy, "AutoRollbackConfiguration": {"Alarms": alarms}}}

    def _check_golden(self, golden: Golden) -> None:
        response = self._call(
            self._client("sagemaker-runtime").invoke_endpoint,
            EndpointName=self._name,
            ContentType="application/json",
            Body=json.dumps({"instances": list(golden.rows)}),
        )
        body = response["Body"].read()
        try:
            found = json.loads(body)["predictions"]
            values = [[float(row[name]) for name in golden.spec.output_columns] for row in found]
            check_golden(golden.spec, values, golden.predictions)
        except PackageError as error:
            raise DeploymentError(f"{self._name}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DeploymentError(f"{self._name} returned: {body[:300]!r}") from error

    def _undo(self, before: dict[str, Any] | None, config: str) -> str:
        """Go back to the previous configuration, or delete a new endpoint; returns what was done.

        A configuration that failed is deleted, so that no rollback chooses it.
        """
        try:
            if before is None:
                if self._describe():
                    self._call(self._sagemaker.delete_endpoint, EndpointName=self._name)
                done = "nothing was deployed before, so the endpoint was deleted"
            else:
                previous, now = before["EndpointConfigName"], self._describe()
                if now is None or now["EndpointConfigName"] != previous:
                    self._switch(previous, new=now is None)
                done = f"{previous} serves again"
            self._delete_config(config)
            return done
        except DeploymentError as error:
            return f"and it could not be undone: {error}"

    def _delete_config(self, config: str) -> None:
        self._call(self._sagemaker.delete_endpoint_config, EndpointConfigName=config)
        self._call(self._sagemaker.delete_model, ModelName=config)

    def _describe(self) -> dict[str, Any] | None:
        """The endpoint; None if it does not exist."""
        try:
            return self._call(self._sagemaker.describe_endpoint, EndpointName=self._name)
        except DeploymentError as error:
            if "Could not find" in str(error):
                return None
            raise

    def _configs(self) -> list[str]:
        """The names of the endpoint's configurations, oldest first."""
        pages = self._sagemaker.get_paginator("list_endpoint_configs")
        found = self._call(lambda: list(pages.paginate(NameContains=f"{self._name}-")))
        names = (each["EndpointConfigName"] for page in found for each in page["EndpointConfigs"])
        return sorted(name for name in names if re.fullmatch(rf"{self._name}-\d{{13}}", name))

    def _call(self, operation: Any, **arguments: Any) -> Any:
        """Call AWS.

        Raises:
            DeploymentError: it refuses, or cannot be reached.
        """
        errors = import_module("botocore.exceptions")
        try:
            return operation(**arguments)
        except (errors.BotoCoreError, errors.ClientError) as error:
            raise DeploymentError(f"AWS: {error}") from error


def _login(engine: str, registry: str, user: str, password: str) -> None:
    done = subprocess.run(
        [engine, "login", "--username", user, "--password-stdin", registry],
        input=password,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DeploymentError(f"{engine} login failed: {done.stderr.strip()[-300:]}")
