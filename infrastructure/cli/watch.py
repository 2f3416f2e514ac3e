"""Watch a deployed model: send alerts about drift and quality, and retrain it, by its policy.

The policy is the block `watch` of the model's configuration. The log is that of PREDICTION_LOG_URL,
else of what is deployed in ENV. Alerts go to ALERT_WEBHOOK_URL, ALERT_SLACK_URL, ALERT_EMAIL and
ALERT_GITHUB_REPOSITORY. Once, it ends with 1 if an alert did not arrive, or a retraining that it
started failed or was refused.

Example: make watch MODEL=iris ENV=production
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path

from application.monitoring.drift_watch import drifting_variables
from application.monitoring.estimation import QualityEstimator
from application.monitoring.quality import quality_of
from application.ports.alerts import Notifier
from application.ports.registry import ModelVersion
from application.retraining.log_rows import check_usable
from application.retraining.watch import Observation, Outcome, Place, Watch
from application.training.config import TrainingConfig, config_path
from domain.errors import ConfigError, DataError, DeploymentError, MlopsError, StateError
from infrastructure.cli._arguments import add_config, add_environment, add_model
from infrastructure.cli._log import open_log
from infrastructure.cli._registry import open_registry
from infrastructure.deployment.local import LocalEnvironment
from infrastructure.deployment.release import Release
from infrastructure.monitoring.notifiers import open_notifiers
from infrastructure.registry.ledger import open_ledger
from infrastructure.registry.mlflow_registry import CHAMPION, PREVIOUS, MlflowRegistry
from infrastructure.storage.watch_log import WatchLog
from shared.console import show_line, show_step
from shared.files import locked
from shared.paths import ROOT
from shared.settings import AlertSettings, Settings
from shared.wording import local_time

_MINUTE, _DAY = 60.0, 86400.0
_LAST_LINES = 5  # of a failed command, in the alert
_NOT_SENT = (
    "shown here only: set ALERT_WEBHOOK_URL, ALERT_SLACK_URL, ALERT_EMAIL or "
    "ALERT_GITHUB_REPOSITORY to send them"
)
_OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, its configuration, the environment and how often to check."""
    add_model(parser)
    add_config(parser)
    add_environment(parser)
    parser.add_argument(
        "--minutes", type=_positive, default=10.0, help="between two checks (default: %(default)g)"
    )
    parser.add_argument("--once", action="store_true", help="check once, as for cron")


def run(args: argparse.Namespace) -> int:
    """Check until Ctrl-C, or once; returns 1 if an alert did not arrive or a retraining failed."""
    settings, notifiers = Settings.load(), open_notifiers(AlertSettings.load())
    channels = ", ".join(notifier.channel for notifier in notifiers)
    show_step("alerts", f"go to {channels}" if channels else _NOT_SENT)
    lock = settings.releases_dir / args.env / f"watch-{args.model}.lock"
    try:
        with locked(lock, timeout=0):
            return _repeat(
                partial(_check, args, settings, notifiers), None if args.once else args.minutes
            )
    except TimeoutError as error:
        raise StateError(
            f"another make watch watches {args.model} in {args.env} on this machine"
        ) from error


def _repeat(check: Callable[[], bool], minutes: float | None) -> int:
    """Check until Ctrl-C, or once if `minutes` is None; returns the exit code."""
    if minutes is None:
        return 0 if check() else 1
    while True:
        started = time.monotonic()
        try:
            check()
        except MlopsError as error:
            show_step("WARNING", f"{error}; trying again in {minutes:g} minutes")
        time.sleep(max(0.0, minutes * _MINUTE - (time.monotonic() - started)))


def _check(args: argparse.Namespace, settings: Settings, notifiers: Sequence[Notifier]) -> bool:
    """Check once, and return whether that went well; the configuration may have changed since."""
    path = args.config or config_path(args.model)
    watched = _Watched(args.model, path, args.env, TrainingConfig.read(path), settings)
    show_step("check", f"{watched.name} in {args.env}, {local_time(datetime.now())}")
    with open_log(settings, watched.name, args.env) as log:
        sinks = (log, notifiers, watched.retrain, show_step, time.time, socket.gethostname())
        return Watch(watched.place(), *sinks).check(partial(watched.observe, log))


@dataclass(frozen=True)
class _Watched:
    """The model that is watched.

    Attributes:
        model: name in domain/models.
        path: of its configuration.
    """

    model: str
    path: Path
    environment: str
    config: TrainingConfig
    settings: Settings

    @property
    def name(self) -> str:
        """Registered name of the model."""
        return self.config.model_name

    @property
    def options(self) -> str:
        """Of make commands about it."""
        return f"MODEL={self.model} ENV={self.environment}"

    @cached_property
    def registry(self) -> MlflowRegistry:
        """Where its versions are."""
        return open_registry(self.settings)

    def place(self) -> Place:
        """What the policy is about.

        Raises:
            ConfigError: the policy retrains, but the log does not have what the model learns from.
            RegistryError: the model has no champion.
        """
        rules = self.config.validation
        spec = self.registry.open_package(self.registry.find(self.name, CHAMPION)).spec
        unusable = ""
        try:
            check_usable(spec, self.config.data.split)
        except DataError as error:
            if self.config.watch.retrain != "report":
                raise ConfigError(f'set watch.retrain to "report": {error}') from error
            unusable = str(error)
        return Place(
            self.name,
            self.environment,
            self.options,
            self.config.watch,
            rules.measure_of(spec),
            rules.threshold,
            self.config.data.source is not None,
            unusable,
        )

    def observe(self, log: WatchLog, drift_since: float) -> Observation | None:
        """What the log shows of the version that is deployed, or that made the latest predictions
        where none is deployed on this machine.

        Args:
            drift_since: when a drift has begun at the earliest.
        """
        name, registry = self.name, self.registry
        champion = registry.find(name, CHAMPION)
        release, now = self._release(), time.time()
        canary = release.canary if release else None
        made = [each for each in log.versions(0.0) if each.version]
        latest = max(made, key=lambda each: each.last, default=None)
        version = release.version if release else latest.version if latest else None
        if version is None:
            show_step("watched", f"nothing of {name} is deployed in {self.environment} or logged")
            return None
        where = "deployed" if release else "not deployed on this machine, but last in the log"
        show_step("version", f"{version}, {where}; the champion is {champion.package_version}")
        package = registry.open_package(registry.find(name, version))
        policy, rules = self.config.watch, self.config.validation
        since = now - policy.quality_days * _DAY
        traffic = [each for each in log.versions(since) if each.version == version]
        measure = rules.measure_of(package.spec)
        with open_log(self.settings, name, self.environment, version) as own:
            profiles = package.read_json("profile.json")
            drifting, rows = drifting_variables(package.spec, profiles, own)
        estimator = QualityEstimator(log, measure, package.calibration, version)
        trained = champion.created.timestamp()
        return Observation(
            version,
            drifting,
            rows,
            quality_of(log, measure, traffic[0], since) if traffic else None,
            estimator.estimate(since) if traffic else None,
            self._waiting(registry.versions(name)[0], champion, release),
            _labels_since(log, trained, bool(package.spec.classes)),
            sum(each.labelled for each in log.versions(max(trained, drift_since))),
            now - trained,
            f"{canary.release.version} gets {canary.share_text}" if canary else "",
        )

    def _waiting(
        self, newest: ModelVersion, champion: ModelVersion, release: Release | None
    ) -> str:
        """Which version waits for its promotion or deployment; empty if none does."""
        is_newer = int(newest.number) > int(champion.number) and PREVIOUS not in newest.aliases
        if is_newer and newest.verdict == "accepted":
            return (
                f"version {newest.number}, {newest.package_version}, was accepted and waits for "
                f"approval: make promote deploy {self.options}"
            )
        serving = {release.version} if release else set()
        if release and release.canary:
            serving.add(release.canary.release.version)
        if release and champion.package_version not in serving:
            return (
                f"version {champion.number}, {champion.package_version}, is the champion, but "
                f"{self.environment} serves {release.version}: make deploy {self.options}"
            )
        return ""

    def retrain(self) -> Outcome:
        """Run make retrain, and make deploy if that is the policy."""
        name, registry = self.name, self.registry
        receipt = self.settings.receipts_dir / self.model / "retrain.json"
        receipt.unlink(missing_ok=True)
        code, lines = self._make("retrain")
        # others may have registered versions meanwhile, and replaced train.json
        trained = json.loads(receipt.read_bytes())["version"] if receipt.exists() else None
        new = registry.find(name, trained) if trained else None
        if new is None or not new.verdict:
            return Outcome("failed", f"make retrain ended with code {code}: {' / '.join(lines)}")
        title = f"version {new.number}, {new.package_version}"
        if new.verdict != "accepted":
            gates = _refused_by(self.settings, new)
            return Outcome(
                "refused", f"{title}, was refused by {gates} (see docs/gates.md); nothing changed"
            )
        if registry.find(name, CHAMPION).number != new.number:
            return Outcome("accepted", f"{title}, waits for approval")
        return self._deployed(new, title)

    def _deployed(self, new: ModelVersion, title: str) -> Outcome:
        """Deploy the new champion, if the policy says so and the model is deployed here."""
        release = self._release()
        command = f"make deploy {self.options}"
        if self.config.watch.retrain != "deploy":
            return Outcome("promoted", f"{title}, is the champion; {command} deploys it")
        if release is None:
            return Outcome(
                "promoted",
                f"{title}, is the champion; nothing was deployed: {self.environment} does not "
                f"serve {self.name} on this machine",
            )
        which = (f"VERSION={new.number}", f"WORKERS={release.workers}")
        code, lines = self._make("promote", "deploy", *which)  # and not what train.json has by now
        if code:
            return Outcome("failed", f"{title}, is the champion; {command}: {' / '.join(lines)}")
        return Outcome("deployed", f"{title}, is the champion and serves in {self.environment}")

    def _release(self) -> Release | None:
        """What serves the model in the environment on this machine."""
        with suppress(DeploymentError):
            folder = self.settings.releases_dir / self.environment
            release = LocalEnvironment(folder).current()
            if release and release.model == self.name:
                return release
        return None

    def _make(self, *goals: str) -> tuple[int, list[str]]:
        """Run targets, with variables, and show their output; returns the exit code and the last
        lines."""
        command = ("make", *goals, *self.options.split())
        environment = {k: v for k, v in os.environ.items() if k not in _OF_MAKE}
        environment["RECEIPTS_DIR"] = str(self.settings.receipts_dir)
        last: deque[str] = deque(maxlen=_LAST_LINES)
        with subprocess.Popen(
            [*command, f"CONFIG={self.path}"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                show_line(line.rstrip("\n"))
                last.append(line.strip())
        return process.returncode, [line for line in last if not line.startswith("make")]


def _labels_since(log: WatchLog, since: float, is_classifier: bool) -> int:
    """How many labels have arrived since a time."""
    if is_classifier:
        return sum(log.confusion(since).values())
    errors = log.errors(since)
    return errors.labelled if errors else 0


def _refused_by(settings: Settings, version: ModelVersion) -> str:
    """The gates that refused a version, from the ledger."""
    found = [
        entry.details.get("refused_by")
        for entry in open_ledger(settings.ledger).entries()
        if entry.event == "verdict" and entry.version == version.package_version
    ]
    return str(found[-1]) if found and found[-1] else "a gate"


def _positive(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of minutes above 0")
    return minutes
