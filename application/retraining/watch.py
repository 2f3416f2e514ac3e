"""From what the prediction log shows to a decision: alerts, and a retraining."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from application.monitoring.quality import VersionQuality
from application.ports.alerts import Alert, Notifier, Severity, WatchStore
from application.ports.progress import Progress
from application.training.config import WatchConfig
from domain.errors import NotificationError, StateError
from domain.evaluation.estimation import Estimate
from domain.evaluation.measures import Measure
from shared.wording import inflected, local_time

DRIFT, QUALITY, ESTIMATE = "DriftSustained", "QualityBelowGate", "EstimatedQualityBelowGate"
DUE, FAILED = "RetrainingDue", "RetrainingFailed"
WAITING, RETRAINED = "NewVersionWaiting", "Retrained"
_ENDED = {
    DRIFT: "too few of the latest checks have an alarm",
    QUALITY: "the score is not certainly below the threshold any more",
    ESTIMATE: "the estimate is not certainly below the threshold any more",
    DUE: "no reason to retrain any more",
    FAILED: "a later retraining did not fail",
    WAITING: "the version was promoted or deployed, or replaced by another one",
}
_SEVERITIES: Mapping[str, Severity] = {DUE: "info", RETRAINED: "info", FAILED: "critical"}
_MOST_PENDING = 100
_DAY, _HOUR = 86400.0, 3600.0
_LONGEST = 12 * _HOUR  # of a retraining on another machine

Result = Literal["deployed", "promoted", "accepted", "refused", "failed"]


@dataclass(frozen=True)
class Outcome:
    """How a retraining ended: ``accepted`` waits for `make promote`, ``refused`` by a gate."""

    result: Result
    summary: str


@dataclass(frozen=True)
class Observation:
    """What the log shows of the deployed version.

    Attributes:
        version: of its package.
        drifting: the variables with a drift alarm, by what they are compared with.
        rows: number of predictions on which the drift is based.
        quality: measured on labels; None without a prediction in the period.
        estimate: estimated without labels, with the same measure; None without a prediction.
        waiting: which newer version waits for its promotion or deployment, and the command; empty
            if none does.
        new_labels: number of labels since the champion was trained.
        drift_labels: number of labels of predictions that were made since then, and since the last
            check without a drift alarm.
        age: seconds since the champion was trained.
        canary: which release gets a share of the traffic, and what share; empty without one.
    """

    version: str
    drifting: Mapping[str, Sequence[str]]
    rows: int
    quality: VersionQuality | None
    estimate: Estimate | None
    waiting: str
    new_labels: int
    drift_labels: int
    age: float
    canary: str = ""


@dataclass
class WatchState:
    """What a watch has seen.

    Attributes:
        version: that was deployed at the last check.
        alarms: whether there was a drift alarm, for each of the latest checks.
        last_calm: when a check last found no drift alarm in all of these.
        since: when each firing alert began.
        pending: alerts that did not reach a channel yet, with the channel.
        retraining, host: when the running retraining began, and on which machine.
        retrained: when the last one ended.
        outcome: how it ended.
    """

    version: str = ""
    alarms: list[bool] = field(default_factory=list)
    last_calm: float | None = None
    since: dict[str, float] = field(default_factory=dict)
    pending: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    retraining: float | None = None
    host: str = ""
    retrained: float | None = None
    outcome: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether the last retraining ended without an accepted version."""
        return self.outcome.get("result") in ("failed", "refused")


@dataclass(frozen=True)
class Place:
    """A model in an environment, and by what it is judged.

    Attributes:
        options: of make commands about it.
        threshold: of the quality gate.
        has_source: whether the training data may have new rows, too.
        unusable: why the log cannot be retrained from; empty if it can.
    """

    model: str
    environment: str
    options: str
    policy: WatchConfig
    measure: Measure
    threshold: float | None
    has_source: bool = False
    unusable: str = ""


class Watch:
    """Checks what the log shows, sends alerts when they begin and end, and retrains.

    An alert that does not reach a channel is sent again at the next check.

    Args:
        retrain: retrains, by the policy.
        clock: seconds since the epoch.
        host: name of this machine, on which no other watch of this model runs.
    """

    def __init__(
        self,
        place: Place,
        store: WatchStore,
        notifiers: Sequence[Notifier],
        retrain: Callable[[], Outcome],
        progress: Progress,
        clock: Callable[[], float],
        host: str = "",
    ) -> None:
        self._place = place
        self._store = store
        self._notifiers = {notifier.channel: notifier for notifier in notifiers}
        self._retrain = retrain
        self._progress = progress
        self._clock = clock
        self._host = host
        self._known: str | None = None

    def check(self, observe: Callable[[float], Observation | None]) -> bool:
        """Check once, and return whether every alert arrived and no retraining failed.

        Args:
            observe: reads the log; its argument is when a drift that it finds has begun at the
                earliest. None if there is nothing to watch.
        """
        text = self._store.watch_state()
        self._known, state = text, _read(text)
        if state.retraining is not None:
            if state.host != self._host and 0 <= self._clock() - state.retraining < _LONGEST:
                self._progress("retrain", f"{state.host} is retraining: nothing is checked")
                return True
            self._end(state, Outcome("failed", "the previous retraining was interrupted"))
        retrains = False
        observed = observe(min(state.last_calm or 0.0, self._clock()))  # it may have been ahead
        if observed:
            other = observed.version != state.version
            ended = f"version {observed.version} is deployed now" if other else ""
            firing = self._findings(state, observed)
            for name in (DRIFT, QUALITY, ESTIMATE, WAITING):
                self._set(state, name, firing.get(name), ended if name != WAITING else "")
            due, obstacle = self._due(observed, firing), self._obstacle(observed, DRIFT in firing)
            ended = "nothing prevents it any more" if due else ""
            if observed.canary or WAITING in firing:  # one after the other
                due, ended = "", ended and "a new version waits, or is a canary"
            self._set(state, DUE, due and obstacle and f"{due}. {obstacle}", ended)
            if FAILED in state.since:
                self._set(state, FAILED, state.outcome.get("summary"))
            retrains = bool(due) and not obstacle and self._is_time(state)
            if retrains:
                state.retraining, state.host = self._clock(), self._host
                self._deliver(state)
                self._progress("retrain", due)
                self._end(state, self._retrain())
        self._deliver(state)
        return not state.pending and not (retrains and state.failed)

    def _findings(self, state: WatchState, observed: Observation) -> dict[str, str]:
        """Alerts that fire, with their summaries."""
        policy, measure = self._place.policy, self._place.measure
        if observed.version != state.version:
            state.version, state.alarms = observed.version, []
        drifts = any(observed.drifting.values())
        state.alarms = [*state.alarms, drifts][-policy.drift_checks :]
        if not any(state.alarms):
            state.last_calm = self._clock()
        found: dict[str, str] = {}
        alarms = sum(state.alarms)
        differences = "; ".join(
            f"{', '.join(names)} differ from {reference}"
            for reference, names in observed.drifting.items()
            if names
        )
        drift = f"{differences or 'none'} ({observed.rows:,} rows)"
        checks = f"an alarm in {alarms} of {len(state.alarms)} checks"
        self._progress("drift", f"{drift}, {checks}")
        if alarms >= policy.drift_alarms:
            command = f"make drift-report {self._place.options}"
            found[DRIFT] = f"version {observed.version}: {drift}, {checks}; {command} shows more"
        threshold, quality = self._place.threshold, observed.quality
        limit = "" if threshold is None else f", threshold {threshold:g}"
        if quality:
            text = quality.reason
            if quality.score is not None and quality.interval:
                text = _score(measure, quality.score, quality.interval, quality.scored, "labels")
                enough = quality.scored >= policy.fewest_labels
                if enough and threshold is not None and quality.interval[1] < threshold:
                    found[QUALITY] = f"version {observed.version}: {text}{limit}"
            self._progress("quality", text + limit)
        if observed.estimate:
            estimate, text = observed.estimate, observed.estimate.reason
            if estimate.score is not None and estimate.interval:
                text = _score(measure, estimate.score, estimate.interval, estimate.rows, "rows")
                if threshold is not None and estimate.interval[1] < threshold:
                    found[ESTIMATE] = f"version {observed.version}: without labels {text}{limit}"
            self._progress("estimated", text + limit)
        if observed.canary:
            self._progress("canary", f"{observed.canary}: no retraining while it runs")
        if observed.waiting:
            found[WAITING] = observed.waiting
        return found

    def _due(self, observed: Observation, firing: Mapping[str, str]) -> str:
        """The reasons to retrain, as one text; empty without any."""
        policy = self._place.policy
        reasons = [name for name in (DRIFT, QUALITY, ESTIMATE) if name in firing]
        if policy.new_labels is not None and observed.new_labels >= policy.new_labels:
            labels = inflected(observed.new_labels, "label", "labels")
            reasons.append(f"{observed.new_labels:,} new {labels} since the champion was trained")
        if policy.age_days is not None and observed.age >= policy.age_days * _DAY:
            days = round(observed.age / _DAY)
            reasons.append(f"the champion was trained {days} {inflected(days, 'day', 'days')} ago")
        return "; ".join(reasons)

    def _obstacle(self, observed: Observation, drifts: bool) -> str:
        """Why this watch does not retrain; empty if it may. Labels of predictions before a drift
        teach nothing about it."""
        if self._place.unusable:
            return f"make retrain cannot: {self._place.unusable}"
        if self._place.policy.retrain == "report":
            return f"Run make retrain {self._place.options}"
        labels, which = observed.new_labels, "since the champion was trained"
        if drifts:
            labels, which = observed.drift_labels, "of predictions since the drift began"
        fewest = self._place.policy.fewest_labels
        if labels < fewest and not self._place.has_source:
            labelled = f"{labels:,} {inflected(labels, 'label', 'labels')}"
            return f"Only {labelled} {which}, {fewest:,} {inflected(fewest, 'is', 'are')} needed"
        return ""

    def _is_time(self, state: WatchState) -> bool:
        hours = self._place.policy.hours_between
        last = state.retrained
        if last is None or not 0 <= self._clock() - last < hours * _HOUR:
            return True  # the clock may have been ahead
        self._progress("retrain", f"due, but the last one is less than {hours:g} h ago")
        return False

    def _end(self, state: WatchState, outcome: Outcome) -> None:
        """Record how a retraining ended."""
        now = self._clock()
        state.retraining, state.retrained, state.outcome = None, now, asdict(outcome)
        self._set(state, FAILED, outcome.summary if state.failed else "")
        if outcome.result == "deployed":
            self._queue(state, self._alert(RETRAINED, outcome.summary, now, now))
        elif not state.failed:
            self._progress(outcome.result, outcome.summary)

    def _set(self, state: WatchState, name: str, summary: str | None, ended: str = "") -> None:
        """Begin, show or end an alert.

        Args:
            ended: why it does not fire, if for another reason than the usual one.
        """
        since = state.since.get(name)
        if summary and since is None:
            state.since[name] = self._clock()
            self._queue(state, self._alert(name, summary, state.since[name]))
        elif summary and since is not None:
            at = local_time(datetime.fromtimestamp(since))
            self._progress("firing", f"{name}, since {at}: {summary}")
        elif since is not None:
            del state.since[name]
            self._queue(state, self._alert(name, ended or _ENDED[name], since, self._clock()))

    def _alert(self, name: str, summary: str, since: float, until: float | None = None) -> Alert:
        return Alert(
            name,
            _SEVERITIES.get(name, "warning"),
            self._place.model,
            self._place.environment,
            summary,
            since,
            until,
        )

    def _queue(self, state: WatchState, alert: Alert) -> None:
        ended = alert.until is not None and alert.name != RETRAINED
        self._progress("resolved" if ended else "ALERT", f"{alert.title}: {alert.summary}")
        state.pending += [(channel, asdict(alert)) for channel in self._notifiers]

    def _deliver(self, state: WatchState) -> None:
        """Keep the state and send what is pending; what does not arrive stays pending, the latest
        alerts only."""
        self._save(state)
        if not state.pending:
            return
        remaining = []
        for channel, alert in state.pending:
            notifier = self._notifiers.get(channel)
            if notifier is None:  # it is no longer configured
                continue
            try:
                notifier.send(Alert(**alert))
            except NotificationError as error:
                self._progress("WARNING", f"{channel}: {error}; sent again at the next check")
                remaining.append((channel, alert))
            else:
                self._progress("sent", f"{channel}: {alert['name']}")
        state.pending = remaining[-_MOST_PENDING:]
        self._save(state)

    def _save(self, state: WatchState) -> None:
        text = json.dumps(asdict(state))
        if not self._store.save_watch_state(self._known, text, state.failed):
            raise StateError(
                f"another watch of {self._place.model} in {self._place.environment} uses the same "
                "prediction log: run only one of them"
            )
        self._known = text


def drift_began(store: WatchStore) -> float | None:
    """When the drift that a watch reports has begun at the earliest, in seconds since the epoch;
    None if it reports none, or does not know."""
    state = _read(store.watch_state())
    return state.last_calm if DRIFT in state.since else None


def _read(text: str | None) -> WatchState:
    """The state; a new one if it cannot be read, as after a change of version."""
    with suppress(ValueError, TypeError):
        return WatchState(**json.loads(text or "{}"))
    return WatchState()


def _score(
    measure: Measure, score: float, interval: tuple[float, float], rows: int, what: str
) -> str:
    low, high = interval
    return f"{measure.title} {score:.4f} [{low:.4f}, {high:.4f}] of {rows:,} {what}"
