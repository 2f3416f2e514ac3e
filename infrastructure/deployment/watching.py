"""Watches the traffic of a new release for a while, against that of the release before it."""

from __future__ import annotations

import time
from collections.abc import Callable

from domain.errors import DeploymentError
from domain.monitoring.traffic import Traffic, degradation
from infrastructure.deployment.demo import Service
from infrastructure.monitoring.metrics.requests import SERVER_ERRORS
from shared.console import progress, show_step

LOOK_SECONDS = 1.0
MOST_FAILURES = 3  # of reading the metrics, in a row
_NO_REQUESTS = ("log_failure", "log_overflow")  # failures to log a request that was answered


def read_traffic(service: Service) -> Traffic:
    """What a service has handled since it started, by its metrics.

    Raises:
        DeploymentError: its metrics cannot be read.
    """
    # pylint: disable-next=import-outside-toplevel  # only this parses metrics
    from prometheus_client.parser import text_string_to_metric_families

    answered = failed = refused = 0.0
    durations: dict[float, float] = {}
    text = service.get("/metrics", patience=5).decode()
    for sample in (
        each for family in text_string_to_metric_families(text) for each in family.samples
    ):
        if sample.name == "ml_prediction_duration_seconds_count":
            answered += sample.value
        elif sample.name == "ml_prediction_duration_seconds_bucket":
            limit = float(sample.labels["le"])
            durations[limit] = durations.get(limit, 0.0) + sample.value
        elif sample.name == "ml_prediction_errors_total":
            reason = sample.labels["error_type"]
            failed += sample.value if reason in SERVER_ERRORS else 0
            refused += sample.value if reason not in (*SERVER_ERRORS, *_NO_REQUESTS) else 0
    return Traffic(answered, failed, refused, durations)


def watch_release(
    service: Service, before: Traffic, seconds: int, is_running: Callable[[], bool]
) -> None:
    """Watch a new release, and show what it has handled.

    Args:
        before: what the release before it has handled.
        seconds: how long.
        is_running: whether the process of the release runs.

    Raises:
        DeploymentError: it answers worse than the release before it, or has ended.
    """
    looks = max(1, int(seconds / LOOK_SECONDS))
    now, unread = Traffic(), 0
    with progress("watch") as show:
        for _ in range(looks):
            time.sleep(LOOK_SECONDS)
            if not is_running():
                raise DeploymentError("the new release ended while it was watched")
            try:
                now, unread = read_traffic(service), 0
            except DeploymentError as error:
                unread += 1
                if unread == MOST_FAILURES:
                    raise DeploymentError(f"the new release does not respond: {error}") from error
                continue
            if reason := degradation(now, before, looks):
                raise DeploymentError(f"the new release is worse than the one before it: {reason}")
            show(_summary(now))
    if now.requests:
        show_step("watched", f"{seconds} s: {_summary(now)}")
    else:
        show_step("watched", f"{seconds} s without a request, so nothing was compared")


def _summary(traffic: Traffic) -> str:
    return (
        f"{traffic.answered:,.0f} answered, {traffic.failed:,.0f} failed, "
        f"{traffic.refused:,.0f} refused"
    )
