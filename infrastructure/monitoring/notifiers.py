"""Sends alerts: to a webhook, to Slack, by e-mail, as issues on GitHub."""

from __future__ import annotations

import http.client
import json
import smtplib
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any, TypeVar
from urllib.parse import unquote, urlencode, urlsplit

from application.ports.alerts import Alert, Notifier
from domain.errors import ConfigError, NotificationError, reason_of
from shared.settings import AlertSettings

Sent = TypeVar("Sent")

_SECONDS, _TOTAL_SECONDS = 20.0, 60.0  # of a socket operation, and of a whole message
_MOST_BYTES = 2**22  # of a response
_ISSUE_LABEL = "model-watch"
_NEVER = "0001-01-01T00:00:00Z"  # as Go writes a time that is not set


def open_notifiers(settings: AlertSettings) -> list[Notifier]:
    """A notifier for each channel that the settings name.

    Raises:
        ConfigError: ALERT_GITHUB_REPOSITORY is set without GITHUB_TOKEN.
    """
    found: list[Notifier] = []
    if settings.alert_webhook_url:
        found.append(Webhook(settings.alert_webhook_url))
    if settings.alert_slack_url:
        found.append(Slack(settings.alert_slack_url))
    if settings.alert_email:
        found.append(Email(settings.smtp_url, settings.alert_email, settings.alert_email_from))
    if settings.alert_github_repository:
        if not settings.github_token:
            raise ConfigError(
                "ALERT_GITHUB_REPOSITORY needs GITHUB_TOKEN, which may write its issues"
            )
        api, repository = settings.github_api_url, settings.alert_github_repository
        found.append(GitHubIssues(api, repository, settings.github_token))
    return found


@dataclass(frozen=True)
class Webhook:
    """Posts an alert as Alertmanager does.

    References:
        https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
    """

    url: str
    channel: str = "webhook"

    def send(self, alert: Alert) -> None:
        """Post one message with one alert."""
        labels = {
            "alertname": alert.name,
            "severity": alert.severity,
            "environment": alert.environment,
            "model_name": alert.model,
        }
        annotations = {"summary": alert.summary}
        status = "firing" if alert.until is None else "resolved"
        ends = _iso(alert.until) if alert.until is not None else _NEVER
        times = {"startsAt": _iso(alert.since), "endsAt": ends}
        message = {
            "version": "4",
            "receiver": "watch",
            "groupKey": alert.title,
            "status": status,
            "groupLabels": labels,
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "truncatedAlerts": 0,
            "alerts": [{"status": status, "labels": labels, "annotations": annotations, **times}],
        }
        _request("POST", self.url, message)


@dataclass(frozen=True)
class Slack:
    """Posts an alert as a message of Slack's incoming webhooks."""

    url: str
    channel: str = "slack"

    def send(self, alert: Alert) -> None:
        """Post one message."""
        _request("POST", self.url, {"text": f"*{_heading(alert)}*\n{alert.summary}"})


@dataclass(frozen=True)
class Email:
    """Sends an alert by SMTP.

    Attributes:
        url: of the server, with user and password where it needs them.
        to: addresses, separated by commas.
        sender: address; empty for the first of `to`.
    """

    url: str
    to: str
    sender: str = ""
    channel: str = "email"

    def send(self, alert: Alert) -> None:
        """Send one message."""
        _in_time(lambda: self._send(alert), "the mail server")

    def _send(self, alert: Alert) -> None:
        message = EmailMessage()
        message["Subject"] = _heading(alert)
        message["From"] = self.sender or self.to.split(",")[0]
        message["To"] = self.to
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = make_msgid("watch")
        since = datetime.fromtimestamp(alert.since, UTC)
        message.set_content(f"{alert.summary}\n\nSince {since:%Y-%m-%d %H:%M} UTC\n")
        try:
            with self._connect() as server:
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise NotificationError(f"SMTP_URL: {reason_of(error)}") from error

    def _connect(self) -> smtplib.SMTP:
        address, context = urlsplit(self.url), ssl.create_default_context()
        host = address.hostname or ""
        server: smtplib.SMTP
        if address.scheme == "smtps":
            server = smtplib.SMTP_SSL(host, address.port or 465, timeout=_SECONDS, context=context)
        else:
            server = smtplib.SMTP(host, address.port or 25, timeout=_SECONDS)
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=context)
        if address.username:
            server.login(unquote(address.username), unquote(address.password or ""))
        return server


@dataclass(frozen=True)
class GitHubIssues:
    """Opens an issue when an alert begins, and closes it when it ends; `info` opens none.

    References:
        https://docs.github.com/rest/issues/issues
    """

    api: str
    repository: str
    token: str
    channel: str = "github"

    def send(self, alert: Alert) -> None:
        """Open or close the issue of this alert, or comment on it if it is open already."""
        query = urlencode({"labels": _ISSUE_LABEL, "state": "open", "per_page": 100})
        found = self._call("GET", f"issues?{query}")
        number = next((each["number"] for each in found if each["title"] == alert.title), None)
        if number is None:
            if alert.until is None and alert.severity != "info":
                body = {"title": alert.title, "body": alert.summary, "labels": [_ISSUE_LABEL]}
                self._call("POST", "issues", body)
            return
        self._call("POST", f"issues/{number}/comments", {"body": alert.summary})
        if alert.until is not None:
            self._call("PATCH", f"issues/{number}", {"state": "closed"})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        url = f"{self.api.rstrip('/')}/repos/{self.repository}/{path}"
        try:
            found = json.loads(_request(method, url, body, headers))
        except ValueError as error:
            raise NotificationError(f"{urlsplit(url).netloc} did not answer with JSON") from error
        if isinstance(found, list) != (method == "GET"):
            raise NotificationError(f"{urlsplit(url).netloc} did not answer as GitHub does")
        return found


def _request(method: str, url: str, body: Any, headers: dict[str, str] | None = None) -> bytes:
    """Send JSON and return the response.

    Redirects are not followed: they would turn the message into a GET, or send a token elsewhere.

    Raises:
        NotificationError: the server cannot be reached or refuses; the message has the host only,
            as the path may be a secret.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "mlops-watch", **(headers or {})}
    host = urlsplit(url).netloc.rpartition("@")[2]

    def send() -> bytes:
        try:
            request = urllib.request.Request(url, data, headers, method=method)
            with _OPENER.open(request, timeout=_SECONDS) as response:
                found: bytes = response.read(_MOST_BYTES)
                return found
        except urllib.error.HTTPError as error:
            raise NotificationError(f"{host} answered {error.code} {error.reason}") from error
        except http.client.HTTPException as error:
            raise NotificationError(f"{host} did not answer in HTTP") from error
        except OSError as error:
            raise NotificationError(f"{host}: {reason_of(error)}") from error

    return _in_time(send, host)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Lets every redirect be an error."""

    def redirect_request(self, *_: Any) -> None:
        """Follow no redirect."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def _in_time(send: Callable[[], Sent], receiver: str) -> Sent:
    """What a function returns, or an error if it takes too long: a receiver may send a byte now and
    then, for which no timeout of a socket counts."""
    result: Future[Sent] = Future()

    def run() -> None:
        try:
            result.set_result(send())
        except BaseException as error:  # pylint: disable=broad-exception-caught  # raised below
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return result.result(_TOTAL_SECONDS)
    except TimeoutError as error:
        raise NotificationError(
            f"{receiver} did not answer completely within {_TOTAL_SECONDS:g} s"
        ) from error


def _heading(alert: Alert) -> str:
    state = "RESOLVED" if alert.until is not None and alert.until > alert.since else "ALERT"
    return f"[{'INFO' if alert.severity == 'info' else state}] {alert.title}"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
