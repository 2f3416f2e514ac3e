"""What a watch reports, and when it retrains."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from application.monitoring.quality import VersionQuality
from application.ports.alerts import Alert
from application.retraining.watch import (
    DRIFT,
    DUE,
    ESTIMATE,
    FAILED,
    QUALITY,
    RETRAINED,
    WAITING,
    Observation,
    Outcome,
    Place,
    Watch,
    drift_began,
)
from application.training.config import WatchConfig
from domain.errors import PredictionLogError, StateError
from domain.evaluation.estimation import Estimate
from domain.evaluation.measures import default_measure
from tests import petals
from tests.fakes import FakeNotifier, FakeWatchStore

HOUR, DAY = 3600.0, 86400.0
CALM = Observation("1", {"training": [], "production": []}, 500, None, None, "", 0, 0, HOUR)
DRIFTS = replace(
    CALM,
    drifting={"training": ["petal_width"], "production": []},
    new_labels=500,
    drift_labels=500,
)
BAD = VersionQuality("1", 900, 300, 300, 0.7, (0.65, 0.75))
GOOD = replace(BAD, score=0.9, interval=(0.87, 0.93))
AUTOMATIC = WatchConfig(drift_alarms=1, drift_checks=1, retrain="deploy", hours_between=24)
IMPATIENT = AUTOMATIC.model_copy(update={"hours_between": 0.0})


@dataclass
class Post:  # pylint: disable=too-many-instance-attributes
    """A watch with its surroundings.

    Attributes:
        now: seconds since the epoch.
        outcome: of the next retraining, or what it raises.
        retrained: times of the retrainings.
        sent_before: names of all alerts before each of them.
        shown: lines of progress.
        unusable: why the log cannot be retrained from.
        went_well: what the last check has returned.
        seen: how many of the alerts a check has returned.
        host: on which it runs.
    """

    policy: WatchConfig = WatchConfig()
    threshold: float | None = 0.85
    has_source: bool = False
    now: float = 1000 * DAY
    outcome: Outcome | Exception = Outcome("deployed", "version 2 serves")
    store: FakeWatchStore = field(default_factory=FakeWatchStore)
    notifier: FakeNotifier = field(default_factory=FakeNotifier)
    retrained: list[float] = field(default_factory=list)
    sent_before: list[list[str]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    unusable: str = ""
    went_well: bool = True
    seen: int = 0
    host: str = ""

    def check(self, observed: Observation | Exception | None = CALM) -> list[str]:
        """Check once, an hour later; returns what was sent.

        Args:
            observed: what the log shows, or what reading it raises.
        """
        self.now += HOUR
        measure = default_measure(petals.SPEC)
        place = Place(
            *("m", "staging", "MODEL=m ENV=staging", self.policy, measure, self.threshold),
            has_source=self.has_source,
            unusable=self.unusable,
        )
        watch = Watch(
            place,
            self.store,
            [self.notifier],
            self._retrain,
            self._show,
            lambda: self.now,
            self.host,
        )

        def observe(drift_since: float) -> Observation | None:
            self._show("drift since", str(drift_since))
            if isinstance(observed, Exception):
                raise observed
            return observed

        self.went_well = watch.check(observe)
        new, self.seen = self.notifier.sent[self.seen :], len(self.notifier.sent)
        return ["-" * (a.until is not None and a.name != RETRAINED) + a.name for a in new]

    def _retrain(self) -> Outcome:
        self.retrained.append(self.now)
        self.sent_before.append([alert.name for alert in self.notifier.sent])
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def _show(self, step: str, result: str) -> None:
        self.shown.append(f"{step} {result}")


def test_a_calm_model_raises_no_alert() -> None:
    post = Post(AUTOMATIC)
    assert [post.check(replace(CALM, quality=GOOD)) for _ in range(3)] == [[], [], []]
    assert not post.retrained and post.store.failed is False
    assert "drift none (500 rows), an alarm in 0 of 1 checks" in post.shown
    assert "quality accuracy 0.9000 [0.8700, 0.9300] of 300 labels, threshold 0.85" in post.shown


def test_drift_is_reported_when_it_lasts_and_when_it_ends() -> None:
    post = Post(WatchConfig(drift_alarms=3, drift_checks=4))
    sent = [post.check(DRIFTS), post.check(), post.check(DRIFTS), post.check(DRIFTS)]
    assert sent == [[], [], [], [DRIFT, DUE]]
    assert [post.check(DRIFTS), post.check(), post.check()] == [[], [], ["-" + DRIFT, "-" + DUE]]


def test_an_alert_says_what_drifts_and_what_to_do() -> None:
    post = Post(AUTOMATIC, outcome=Outcome("refused", "refused by quality"))
    post.now = 7 * DAY
    observed = replace(DRIFTS, drifting={"training": ["a", "b"], "production": ["b"]})
    post.check(observed)
    expected = (
        "version 1: a, b differ from training; b differ from production (500 rows), an alarm in 1 "
        "of 1 checks; make drift-report MODEL=m ENV=staging shows more"
    )
    drift, failed = post.notifier.sent
    assert drift == Alert(DRIFT, "warning", "m", "staging", expected, 7 * DAY + HOUR)
    assert failed.severity == "critical" and failed.summary == "refused by quality"


def test_another_version_starts_without_alarms() -> None:
    post = Post(WatchConfig(drift_alarms=2, drift_checks=2))
    assert [post.check(DRIFTS), post.check(replace(DRIFTS, version="2"))] == [[], []]


@pytest.mark.parametrize(
    ("quality", "sent"),
    [
        (BAD, [QUALITY, DUE]),
        (GOOD, []),
        (replace(BAD, interval=(0.6, 0.86)), []),  # it may be above the threshold
        (replace(BAD, scored=99), []),
        (VersionQuality("1", 900, 3, reason="too few to say: 3 labels, 30 are needed"), []),
    ],
    ids=["below", "above", "uncertain", "few labels", "no score"],
)
def test_quality_is_reported_where_it_is_certainly_below_the_threshold(
    quality: VersionQuality, sent: list[str]
) -> None:
    post = Post()
    assert post.check(replace(CALM, quality=quality)) == sent
    assert any(line.startswith("quality ") for line in post.shown)


def test_without_a_threshold_no_quality_is_reported() -> None:
    assert Post(threshold=None).check(replace(CALM, quality=BAD)) == []


def test_estimated_quality_is_reported_by_its_band() -> None:
    for high, sent in ((0.8, [ESTIMATE, DUE]), (0.86, [])):
        estimate = Estimate(4000, 0.75, (0.7, high))
        post = Post()
        assert post.check(replace(CALM, estimate=estimate)) == sent
        assert any(f"0.7500 [0.7000, {high:.4f}] of 4,000 rows" in line for line in post.shown)


def test_why_there_is_no_estimate_is_shown() -> None:
    post = Post()
    assert post.check(replace(CALM, estimate=Estimate(9, reason="too few to say"))) == []
    assert any(line.startswith("estimated too few to say") for line in post.shown)


@pytest.mark.parametrize(
    ("policy", "observed"),
    [
        ({"new_labels": 400}, replace(CALM, new_labels=400)),
        ({"age_days": 30}, replace(CALM, age=30 * DAY, new_labels=100)),
    ],
    ids=["labels", "age"],
)
def test_new_labels_and_age_make_a_retraining_due(
    policy: dict[str, Any], observed: Observation
) -> None:
    assert Post(WatchConfig(**policy)).check(observed) == [DUE]
    post = Post(WatchConfig(**policy, retrain="validate"))
    assert post.check(observed) == [RETRAINED] and len(post.retrained) == 1
    post = Post(WatchConfig(**policy, retrain="validate"))
    assert post.check(replace(observed, new_labels=99, age=29 * DAY)) == []


def test_alerts_are_sent_before_a_retraining_begins() -> None:
    post = Post(AUTOMATIC)
    assert post.check(DRIFTS) == [DRIFT, RETRAINED]
    assert post.sent_before == [[DRIFT]]
    assert post.check(replace(CALM, version="2")) == ["-" + DRIFT]


def test_an_alert_that_retraining_is_due_shows_its_command() -> None:
    post = Post(WatchConfig(drift_alarms=1, drift_checks=1))
    assert post.check(DRIFTS) == [DRIFT, DUE]
    assert any(shown.endswith("Run make retrain MODEL=m ENV=staging") for shown in post.shown)


def test_a_retraining_waits_for_new_labels_or_a_source() -> None:
    post = Post(AUTOMATIC)
    few = replace(CALM, quality=BAD, new_labels=99, drift_labels=500)
    assert post.check(few) == [QUALITY, DUE]
    assert not post.retrained
    assert any(
        "Only 99 labels since the champion was trained, 100 are needed" in s for s in post.shown
    )
    post.has_source = True
    assert post.check(few) == ["-" + DUE, RETRAINED]


def test_labels_of_predictions_before_a_drift_do_not_count() -> None:
    post = Post(AUTOMATIC)
    assert post.check(replace(DRIFTS, drift_labels=99)) == [DRIFT, DUE]
    expected = "Only 99 labels of predictions since the drift began, 100 are needed"
    assert not post.retrained and any(expected in line for line in post.shown)
    assert post.check(DRIFTS) == ["-" + DUE, RETRAINED]


def since(post: Post) -> list[float]:
    """When a drift has begun at the earliest, as each check reads it."""
    shown = [line.partition("drift since ")[2] for line in post.shown]
    return [float(each) for each in shown if each]


def test_a_drift_begins_after_the_last_check_without_any_alarm() -> None:
    post = Post(WatchConfig(drift_alarms=2, drift_checks=3))
    post.check()
    calm = post.now
    assert drift_began(post.store) is None
    assert [post.check(DRIFTS), post.check(), post.check(DRIFTS)] == [[], [], [DRIFT, DUE]]
    assert since(post) == [0.0, calm, calm, calm]
    assert drift_began(post.store) == calm
    for _ in range(4):
        post.check()
    assert drift_began(post.store) is None and since(post)[-1] == post.now - HOUR


def test_when_a_drift_began_is_unknown_without_an_earlier_check() -> None:
    post = Post(AUTOMATIC)
    post.check(DRIFTS)
    assert since(post) == [0.0] and drift_began(post.store) is None


def test_retrainings_keep_their_distance() -> None:
    post = Post(AUTOMATIC)
    for _ in range(30):
        post.check(DRIFTS)
    assert [round((at - post.retrained[0]) / HOUR) for at in post.retrained] == [0, 24]
    assert "retrain due, but the last one is less than 24 h ago" in post.shown


@pytest.mark.parametrize("result", ["failed", "refused"])
def test_a_failed_retraining_is_reported_until_one_succeeds(result: Any) -> None:
    post = Post(IMPATIENT, outcome=Outcome(result, "why"))
    assert post.check(DRIFTS) == [DRIFT, FAILED] and post.store.failed is True
    assert post.check(DRIFTS) == []
    post.outcome = Outcome("deployed", "version 3 serves")
    assert post.check(DRIFTS) == ["-" + FAILED, RETRAINED] and post.store.failed is False


def test_an_interrupted_retraining_has_failed() -> None:
    post = Post(AUTOMATIC, outcome=KeyError("killed"))
    with pytest.raises(KeyError):
        post.check(DRIFTS)
    post.outcome = Outcome("deployed", "version 2 serves")
    assert post.check(DRIFTS) == [DRIFT, FAILED]
    assert len(post.retrained) == 1  # the next one keeps its distance


@pytest.mark.parametrize("result", ["accepted", "promoted"])
def test_while_a_version_waits_nothing_is_retrained(result: Any) -> None:
    post = Post(IMPATIENT, outcome=Outcome(result, "version 2"))
    assert post.check(DRIFTS) == [DRIFT] and len(post.retrained) == 1
    waits = replace(DRIFTS, waiting="version 2 waits: make promote deploy")
    assert post.check(waits) == [WAITING] and post.check(waits) == []
    assert len(post.retrained) == 1
    assert post.notifier.sent[-1].summary == "version 2 waits: make promote deploy"
    assert post.check(replace(CALM, version="2")) == ["-" + DRIFT, "-" + WAITING]


def test_another_machine_that_retrains_is_left_alone() -> None:
    post = Post(AUTOMATIC, outcome=KeyError("still at work"), host="a")
    with pytest.raises(KeyError):
        post.check(DRIFTS)
    post.host, post.outcome = "b", Outcome("deployed", "version 2 serves")
    sent = len(post.notifier.sent)
    for _ in range(10):
        post.check(DRIFTS)
    assert len(post.notifier.sent) == sent and len(post.retrained) == 1
    for _ in range(3):  # it must have ended by now
        post.check(DRIFTS)
    assert FAILED in [alert.name for alert in post.notifier.sent]


def test_two_watches_of_one_log_do_not_overwrite_each_other() -> None:
    post = Post(IMPATIENT)
    retrain = post.store.save_watch_state

    def other(previous: str | None, state: str, failed: bool) -> bool:
        post.store.state = "{}"  # the other one writes first
        return retrain(previous, state, failed)

    post.check(CALM)
    post.store.save_watch_state = other  # type: ignore[method-assign]
    with pytest.raises(StateError, match="another watch of m in staging uses the same"):
        post.check(DRIFTS)
    assert not post.retrained


def test_a_clock_that_was_ahead_delays_no_retraining() -> None:
    post = Post(AUTOMATIC)
    post.check(DRIFTS)
    post.now -= 100 * DAY
    post.check(DRIFTS)
    assert len(post.retrained) == 2


@pytest.mark.parametrize("text", ["{", '{"unknown": 1}', "[]"])
def test_a_state_that_cannot_be_read_is_replaced(text: str) -> None:
    post = Post(WatchConfig(drift_alarms=1, drift_checks=1))
    post.store.state = text
    assert post.check(DRIFTS) == [DRIFT, DUE]


def test_what_was_not_sent_is_sent_again_once() -> None:
    post = Post(WatchConfig(drift_alarms=1, drift_checks=1))
    post.notifier.broken = True
    assert post.check(DRIFTS) == []
    assert "WARNING pigeon: no route; sent again at the next check" in post.shown
    post.notifier.broken = False
    assert post.check(DRIFTS) == [DRIFT, DUE]
    assert post.check(DRIFTS) == []
    assert json.loads(post.store.state or "")["pending"] == []


def test_what_is_pending_for_a_channel_that_is_gone_is_forgotten() -> None:
    post = Post(WatchConfig(drift_alarms=1, drift_checks=1))
    post.notifier.broken = True
    post.check(DRIFTS)
    post.notifier, post.seen = FakeNotifier("other"), 0
    assert post.check(DRIFTS) == []


def test_without_anything_to_watch_nothing_changes() -> None:
    post = Post(AUTOMATIC)
    assert post.check(replace(CALM, quality=BAD)) == [QUALITY, DUE]
    assert post.check(None) == []


def test_a_log_that_fails_loses_no_state() -> None:
    post = Post(WatchConfig(drift_alarms=1, drift_checks=1))
    post.check(DRIFTS)
    before = post.store.state
    with pytest.raises(PredictionLogError):
        post.check(PredictionLogError("busy"))
    assert post.store.state == before
    assert post.check(DRIFTS) == []


def test_an_alert_that_still_fires_is_shown_at_each_check() -> None:
    post = Post(WatchConfig(drift_alarms=1, drift_checks=1))
    assert post.check(DRIFTS) == [DRIFT, DUE]
    post.shown.clear()
    assert post.check(DRIFTS) == []
    firing = [line.split(", since ")[0] for line in post.shown if line.startswith("firing ")]
    assert firing == [f"firing {DRIFT}", f"firing {DUE}"]


def test_a_failed_retraining_is_shown_until_a_later_one_does_not_fail() -> None:
    post = Post(AUTOMATIC, outcome=Outcome("refused", "refused by size"))
    assert post.check(DRIFTS) == [DRIFT, FAILED]
    assert not post.went_well
    post.check(DRIFTS)
    assert post.went_well  # it was reported, and is not tried again yet
    assert any(line.endswith(": refused by size") for line in post.shown if FAILED in line)


def test_a_check_goes_well_if_every_alert_arrives() -> None:
    post = Post(WatchConfig(drift_alarms=1, drift_checks=1))
    post.notifier.broken = True
    post.check(DRIFTS)
    assert not post.went_well
    post.notifier.broken = False
    post.check(DRIFTS)
    assert post.went_well


def test_an_alert_ends_with_its_reason() -> None:
    post = Post(WatchConfig(drift_alarms=1, drift_checks=1))
    post.check(DRIFTS)
    post.check(replace(CALM, version="2"))
    post.check(replace(DRIFTS, version="2"))
    post.check(replace(CALM, version="2"))
    ended = [alert.summary for alert in post.notifier.sent if alert.name == DRIFT and alert.until]
    assert ended == ["version 2 is deployed now", "too few of the latest checks have an alarm"]


def test_a_retraining_that_cannot_be_is_not_recommended() -> None:
    post = Post(
        WatchConfig(drift_alarms=1, drift_checks=1), unusable="the log has no values of age"
    )
    post.check(DRIFTS)
    assert post.notifier.sent[-1].summary == (
        f"{DRIFT}. make retrain cannot: the log has no values of age"
    )


def test_a_clock_that_was_ahead_stops_no_watch() -> None:
    post = Post(AUTOMATIC, host="here")
    ahead = {"retraining": post.now + 30 * DAY, "host": "there", "last_calm": post.now + DAY}
    post.store.state = json.dumps(ahead)
    assert FAILED in post.check(CALM)
    assert f"drift since {post.now}" in post.shown


def test_nothing_is_retrained_while_a_canary_runs() -> None:
    post = Post(AUTOMATIC)
    trial = "2 gets 10 % of connections"
    assert post.check(replace(DRIFTS, canary=trial)) == [DRIFT]
    assert not post.retrained
    assert f"canary {trial}: no retraining while it runs" in post.shown
    post.check(DRIFTS)
    assert len(post.retrained) == 1


def test_a_due_retraining_ends_with_its_reason() -> None:
    post = Post(WatchConfig(drift_alarms=1, drift_checks=1))
    post.check(DRIFTS)
    post.check(replace(DRIFTS, waiting="version 3 waits"))
    assert post.notifier.sent[-1].summary == "a new version waits, or is a canary"
    post.check(DRIFTS)
    post.check(CALM)
    assert post.notifier.sent[-1].summary == "no reason to retrain any more"
