"""Where `make watch` sends alerts, and where it keeps what it has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True)
class Alert:
    """Something that people should know about a model.

    Attributes:
        name: such as ``DriftSustained``; the same alert keeps its name while it fires.
        environment: where the model is deployed.
        summary: what is wrong, and what to do.
        since: when it began to fire, in seconds since the epoch.
        until: when it ended; None while it fires.
    """

    name: str
    severity: Severity
    model: str
    environment: str
    summary: str
    since: float
    until: float | None = None

    @property
    def title(self) -> str:
        """The alert in a few words, the same when it ends."""
        return f"{self.name}: {self.model} in {self.environment}"


class Notifier(Protocol):
    """Sends alerts to people."""

    @property
    def channel(self) -> str:
        """Its name, such as ``slack``."""

    def send(self, alert: Alert) -> None:
        """Send an alert.

        Raises:
            NotificationError: it did not arrive; try again later.
        """


class WatchStore(Protocol):
    """Keeps the state of a watch between two checks."""

    def watch_state(self) -> str | None:
        """The state; None before the first check."""

    def save_watch_state(self, previous: str | None, state: str, retraining_failed: bool) -> bool:
        """Replace the state, unless it is not the previous one any more; returns whether it was.

        Args:
            retraining_failed: whether the last retraining ended without an accepted version.
        """
