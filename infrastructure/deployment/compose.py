"""Deploy an image with compose, together with its monitoring, and MLflow on PostgreSQL and S3.

The service is replaced in place, so requests fail for the seconds that it takes to start. If the
new one does not become ready or predicts wrongly, the previous image is started again.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from application.inference.api_keys import new_key
from domain.errors import DeploymentError
from infrastructure.deployment.commands import run_program
from infrastructure.deployment.golden import Golden, check_golden_predictions
from infrastructure.deployment.variables import with_deployment_key
from infrastructure.monitoring.stack.configuration import Addresses, write_configuration
from infrastructure.monitoring.stack.processes import check_ports, has_compose
from shared.console import show_step
from shared.files import write_atomically

FILES = Path(__file__).parent / "compose_files"
FILE_NAMES = ("compose.yml", "stack.yml")  # of the monitoring, and of the rest
COMMAND_SECONDS = 120.0
LAST_LINES = 10


@dataclass(frozen=True)
class Deployed:
    """What is deployed.

    Attributes:
        image: name or reference of the service's image.
        version: version of its model.
        workers: number of its processes.
    """

    image: str
    version: str
    workers: int = 1


class Compose:
    """A compose project on this machine.

    Args:
        folder: where its files are; only this user may enter it. It must last as long as the
            volumes, whose password it has.
        engine: docker or podman.
        addresses: the environment's name, and the ports of the service and its monitoring.
        mlflow: port of the MLflow server on 127.0.0.1.
        patience: seconds in which everything must be ready, images downloaded.
    """

    def __init__(
        self,
        folder: Path,
        engine: str,
        addresses: Addresses,
        mlflow: int = 5000,
        patience: float = 600.0,
    ) -> None:
        self._folder = folder.absolute()
        self._engine = engine
        self._addresses = addresses
        self._mlflow = mlflow
        self._patience = patience
        self._state = self._folder / "deployed.json"  # the current one first, then the previous

    def deploy(self, wanted: Deployed, golden: Golden, api_keys: str = "") -> None:
        """Start everything, or what has changed; restore the previous image if that fails.

        Args:
            golden: what the service must predict.
            api_keys: keys of the service, as in SERVING_API_KEYS; empty: none is needed.

        Raises:
            DeploymentError: a port is in use, or the deployment failed; the message has the reason
                and the last lines of the service.
        """
        history = self._history()
        if not history:
            self._check_ports()
        key = self._write_files(api_keys)
        show_step("start", f"{wanted.image} and its stack, with {' '.join(self._program())}")
        try:
            self._up(wanted)
            port = self._addresses.service
            check_golden_predictions(port, golden, wanted.version, key if api_keys else "")
        except DeploymentError as error:
            reason = f"{error}\n{self._last_lines()}\n{self._undo(history)}"
            raise DeploymentError(reason) from error
        except BaseException:
            self._undo(history)
            raise
        kept = history if history and history[0] == wanted else [wanted, *history][:2]
        self._write_history(kept)
        show_step("ready", "golden predictions reproduced")
        show_step("switched", f"http://127.0.0.1:{port} now serves {wanted.version}")
        show_step("mlflow", f"http://127.0.0.1:{self._mlflow}")

    def rollback(self) -> Deployed:
        """Start the previous image again.

        Raises:
            DeploymentError: it is missing, or does not become ready.
        """
        history = self._history()
        if len(history) < 2:
            raise DeploymentError("there is no previous image to go back to")
        current, previous = history
        self._up(previous)
        self._write_history([previous, current])
        show_step("switched", f"{previous.version} serves again")
        return previous

    def stop(self) -> bool:
        """Stop everything; volumes, files and secrets stay.

        Returns:
            Whether anything was deployed.
        """
        history = self._history()
        if history:
            self._run("down", variables=self._variables(history[0]))
            self._state.unlink()
        return bool(history)

    def status(self) -> str:
        """What is deployed, in one line; empty if nothing is."""
        history = self._history()
        if not history:
            return ""
        running = self._run("ps", "--quiet", variables=self._variables(history[0])).split()
        return (
            f"{history[0].image}, version {history[0].version}, {len(running)} containers, "
            f"http://127.0.0.1:{self._addresses.service}"
        )

    def logs(self, lines: int = 100, service: str = "service") -> str:
        """The last lines of one service of the stack."""
        current = (self._history() or [Deployed("none", "none")])[0]
        options = ("logs", f"--tail={lines}", service)
        return self._run(*options, variables=self._variables(current))

    def _up(self, wanted: Deployed) -> None:
        waiting = ("--detach", "--wait", "--wait-timeout", f"{self._patience:.0f}")
        seconds = self._patience + COMMAND_SECONDS
        self._run("up", *waiting, variables=self._variables(wanted), seconds=seconds)

    def _undo(self, history: list[Deployed]) -> str:
        """Start the previous image again, or stop a first deployment; returns what was done."""
        try:
            if history:
                self._up(history[0])
                return f"{history[0].version} was started again"
            self._run("down", variables=self._variables(Deployed("none", "none")))
            return "nothing was deployed before, so everything was stopped"
        except DeploymentError as error:
            return f"and it could not be undone: {error}"

    def _last_lines(self) -> str:
        try:
            return self.logs(LAST_LINES).strip()
        except DeploymentError as error:
            return str(error)

    def _check_ports(self) -> None:
        addresses = self._addresses
        check_ports(
            {
                "PORT": addresses.service,
                "PROMETHEUS_PORT": addresses.prometheus,
                "ALERTMANAGER_PORT": addresses.alertmanager,
                "GRAFANA_PORT": addresses.grafana,
                "MLFLOW_PORT": self._mlflow,
            }
        )

    def _write_files(self, api_keys: str) -> str:
        """Write the configuration and the secrets, and return the key of the deployment.

        Containers run as other users, so the files are readable, but not their folder.
        """
        write_configuration(self._folder, self._addresses)
        shutil.copytree(FILES, self._folder, dirs_exist_ok=True)
        folder = self._folder / "secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        password = _kept(folder / "postgres_password", secrets.token_hex(24))
        _kept(folder / "s3_secret_key", secrets.token_hex(24))
        key = _kept(folder / "deployment_key", new_key())
        keys = with_deployment_key(api_keys, key) if api_keys else ""
        place = f"mlops:{password}@postgres:5432"
        contents = {
            "serving_api_keys": keys,
            "prediction_log_url": f"postgresql+psycopg://{place}/predictions",
            "mlflow_database_url": f"postgresql+psycopg2://{place}/mlflow",
        }
        for name, content in contents.items():
            write_atomically(folder / name, content)
        return key

    def _variables(self, deployed: Deployed) -> dict[str, str]:
        return {
            "SERVICE_IMAGE": deployed.image,
            "SERVICE_PORT": str(self._addresses.service),
            "WORKERS": str(deployed.workers),
            "ENVIRONMENT": self._addresses.environment,
            "MLFLOW_PORT": str(self._mlflow),
        }

    def _history(self) -> list[Deployed]:
        """What is deployed, and then what was before that."""
        try:
            recorded = json.loads(self._state.read_text(encoding="utf-8"))
            return [Deployed(**each) for each in recorded]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:
            raise DeploymentError(f"{self._state} is damaged: remove it, and deploy") from error

    def _write_history(self, history: list[Deployed]) -> None:
        write_atomically(self._state, json.dumps([asdict(each) for each in history]) + "\n")

    def _program(self) -> list[str]:
        """The command of compose.

        Raises:
            DeploymentError: compose is not installed.
        """
        if has_compose(self._engine):
            return [self._engine, "compose"]
        if self._engine == "podman" and shutil.which("podman-compose"):
            return ["podman-compose"]
        raise DeploymentError(f"{self._engine} has no compose: install its compose plugin")

    def _run(
        self, *arguments: str, variables: Mapping[str, str], seconds: float = COMMAND_SECONDS
    ) -> str:
        """Run compose and return its standard output.

        Raises:
            DeploymentError: it is missing, failed or took too long.
        """
        lines = "".join(f"{name}={value}\n" for name, value in variables.items())
        write_atomically(self._folder / ".env", lines)  # where compose reads its variables
        files = [option for name in FILE_NAMES for option in ("--file", name)]
        project = ("--project-name", f"mlops-{self._addresses.environment}")
        command = [*self._program(), *project, *files, *arguments]
        return run_program(command, f"compose {arguments[0]}", seconds, self._folder)


def _kept(path: Path, default: str) -> str:
    """The content of a secret, which is written if it is missing."""
    if not path.exists():
        write_atomically(path, default)
    return path.read_text(encoding="utf-8")
