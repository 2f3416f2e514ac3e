"""Alerts arrive at a webhook, at Slack, by e-mail and as issues."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from application.ports.alerts import Alert
from domain.errors import ConfigError, NotificationError
from infrastructure.monitoring.notifiers import (
    Email,
    GitHubIssues,
    Slack,
    Webhook,
    open_notifiers,
)
from shared.settings import AlertSettings, InvalidSettingError

ALERT = Alert("DriftSustained", "warning", "churn", "production", "petal_width: ä", 1e9)
ENDED = replace(ALERT, summary="ended", until=1e9 + 60)
TITLE = "DriftSustained: churn in production"


@dataclass
class Receiver:
    """A server, and what it got.

    Attributes:
        requests: method, path, headers and body of each.
        issues: of the repository, by number.
        status, location: of every response.
        text: of every response, in place of GitHub's.
    """

    url: str = ""
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    status: int = 200
    location: str = ""
    text: str = ""

    def answer(self, method: str, path: str, body: Any) -> Any:
        """What GitHub's issues answer; nothing elsewhere."""
        if not path.startswith("/repos/me/shop/issues"):
            return None
        _, _, rest = path.partition("/issues")
        if method == "GET":
            return [issue for issue in self.issues.values() if issue["state"] == "open"]
        if not rest:
            number = len(self.issues) + 1
            self.issues[number] = {**body, "number": number, "state": "open", "comments": []}
            return self.issues[number]
        issue = self.issues[int(rest.split("/")[1])]
        if rest.endswith("/comments"):
            issue["comments"].append(body["body"])
        else:
            issue.update(body)
        return issue


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        """Keeps each request."""

        def do_GET(self) -> None:  # pylint: disable=invalid-name  # of the base class
            """Answer a request."""
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(text) if text else None
            found.requests.append((self.command, self.path, dict(self.headers), body))
            self.send_response(found.status)
            self.send_header("Location", found.location)
            self.end_headers()
            answer = found.answer(self.command, self.path, body)
            self.wfile.write((found.text or json.dumps(answer)).encode())

        do_POST = do_PATCH = do_GET

        def log_message(self, *args: object) -> None:  # pylint: disable=arguments-differ
            """Print nothing."""

    with _running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        found.url = f"http://127.0.0.1:{port}"
        yield found


@contextmanager
def _running(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]  # type: ignore[misc]  # of any family
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook_gets_what_alertmanager_would_post(receiver: Receiver) -> None:
    hook = Webhook(f"{receiver.url}/hook?token=1")
    hook.send(ALERT)
    hook.send(ENDED)
    (method, path, headers, first), (*_, second) = receiver.requests
    assert (method, path, headers["Content-Type"]) == ("POST", "/hook?token=1", "application/json")
    assert first["version"] == "4" and first["groupKey"] == second["groupKey"] == TITLE
    assert [first["status"], second["status"]] == ["firing", "resolved"]
    labels = {
        "alertname": "DriftSustained",
        "severity": "warning",
        "environment": "production",
        "model_name": "churn",
    }
    assert first["alerts"] == [
        {
            "status": "firing",
            "labels": labels,
            "annotations": {"summary": "petal_width: ä"},
            "startsAt": "2001-09-09T01:46:40Z",
            "endsAt": "0001-01-01T00:00:00Z",
        }
    ]
    assert second["alerts"][0]["endsAt"] == "2001-09-09T01:47:40Z"


def test_slack_gets_a_text(receiver: Receiver) -> None:
    slack = Slack(f"{receiver.url}/services/T/B/x")
    for alert in (ALERT, ENDED, replace(ALERT, name="Retrained", severity="info", until=1e9)):
        slack.send(alert)
    assert [body["text"] for *_, body in receiver.requests] == [
        f"*[ALERT] {TITLE}*\npetal_width: ä",
        f"*[RESOLVED] {TITLE}*\nended",
        "*[INFO] Retrained: churn in production*\npetal_width: ä",
    ]


def test_an_issue_is_opened_once_and_closed(receiver: Receiver) -> None:
    github = GitHubIssues(receiver.url, "me/shop", "secret")
    github.send(replace(ALERT, severity="info"))
    assert not receiver.issues
    for alert in (ALERT, replace(ALERT, summary="again"), ENDED, ENDED, ALERT):
        github.send(alert)
    first, second = receiver.issues.values()
    assert (first["title"], first["body"]) == (TITLE, "petal_width: ä")
    assert (first["state"], first["comments"]) == ("closed", ["again", "ended"])
    assert (second["title"], second["state"], second["comments"]) == (TITLE, "open", [])
    assert all(
        headers["Authorization"] == "Bearer secret" for _, _, headers, _ in receiver.requests
    )


@pytest.mark.parametrize("status", [403, 500])
def test_a_server_that_refuses_is_named_without_its_path(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(NotificationError, match=rf"127.0.0.1:\d+ answered {status} ") as caught:
        Slack(f"{receiver.url}/services/secret").send(ALERT)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    receiver.status, receiver.location = status, f"{receiver.url}/elsewhere"
    with pytest.raises(NotificationError, match=f"answered {status}"):
        GitHubIssues(receiver.url, "me/shop", "secret").send(ALERT)
    assert [path for _, path, *_ in receiver.requests if path == "/elsewhere"] == []


@pytest.mark.parametrize("answer", ["<html>", '{"message": "hello"}'])
def test_an_answer_that_is_not_githubs_is_an_error(receiver: Receiver, answer: str) -> None:
    receiver.text = answer
    with pytest.raises(NotificationError, match="did not answer"):
        GitHubIssues(receiver.url, "me/shop", "secret").send(ALERT)


def test_a_server_that_speaks_no_http_is_an_error() -> None:
    class Handler(socketserver.StreamRequestHandler):
        """Sends what is not HTTP."""

        def handle(self) -> None:
            """Answer at once."""
            self.rfile.readline()
            self.wfile.write(b"garbage\r\n\r\n")

    with _running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        with pytest.raises(NotificationError, match="did not answer in HTTP"):
            Webhook(f"http://127.0.0.1:{port}/").send(ALERT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALERT_SLACK_URL", "https://hooks.example.org/T0/SECRET x"),
        ("ALERT_WEBHOOK_URL", "hooks.example.org/SECRET"),
        ("ALERT_WEBHOOK_URL", "https://me:SECRET@hooks.example.org/"),
        ("ALERT_EMAIL", "ada"),
        ("ALERT_EMAIL_FROM", "ops@"),
        ("SMTP_URL", "mail.example.org"),
        ("GITHUB_TOKEN", "two SECRET words"),
        ("ALERT_GITHUB_REPOSITORY", "shop"),
    ],
)
def test_a_wrong_setting_is_refused_without_its_secret(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettingError, match=f"{name}: use ") as caught:
        AlertSettings.load()
    assert "SECRET" not in str(caught.value)


def test_a_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NotificationError, match="127.0.0.1:1: "):
        Webhook("http://127.0.0.1:1/secret").send(ALERT)
    with pytest.raises(NotificationError, match="SMTP_URL: "):
        Email("smtp://127.0.0.1:1", "a@b").send(ALERT)


class Smtp(socketserver.StreamRequestHandler):
    """The part of SMTP that a client needs; refuses recipients at `nowhere`."""

    mails: list[tuple[str, list[str], bytes]] = []

    def handle(self) -> None:
        """Take one mail."""
        self._reply("220 ready")
        sender, recipients = "", []
        while line := self.rfile.readline().decode().strip():
            word = line.upper()
            if word.startswith("MAIL FROM:"):
                sender = line[10:].split()[0]
                self._reply("250 ok")
            elif word.startswith("RCPT TO:"):
                recipients.append(line[8:])
                self._reply("550 unknown" if "@nowhere" in line else "250 ok")
            elif word == "DATA":
                self._reply("354 go on")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.mails.append((sender, recipients, text))
                self._reply("250 taken")
            elif word == "QUIT":
                self._reply("221 bye")
                return
            else:
                self._reply("250 ok")

    def _reply(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


def test_an_email_reaches_its_addresses() -> None:
    Smtp.mails.clear()
    with _running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp)) as port:
        url = f"smtp://127.0.0.1:{port}"
        Email(url, "ada@lab.org, bob@lab.org").send(ALERT)
        Email(url, "ada@lab.org", "watch@lab.org").send(ENDED)
        with pytest.raises(NotificationError, match="SMTP_URL: "):
            Email(url, "ada@nowhere").send(ALERT)
    assert len(Smtp.mails) == 2
    (sender, to, text), (other, _, ended) = Smtp.mails[0], Smtp.mails[1]
    assert (sender, to) == ("<ada@lab.org>", ["<ada@lab.org>", "<bob@lab.org>"])
    mail = message_from_bytes(text, policy=policy.default)
    assert mail["Subject"] == f"[ALERT] {TITLE}"
    assert "petal_width: ä" in mail.get_body().get_content()  # type: ignore[union-attr]
    assert other == "<watch@lab.org>" and b"[RESOLVED]" in ended


def test_each_setting_opens_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not open_notifiers(AlertSettings.load())
    settings = {
        "ALERT_WEBHOOK_URL": "https://hooks.example.org/a",
        "ALERT_SLACK_URL": "https://hooks.example.org/b",
        "ALERT_EMAIL": "ada@lab.org",
        "ALERT_GITHUB_REPOSITORY": "me/shop",
        "GITHUB_TOKEN": "secret",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    found = open_notifiers(AlertSettings.load())
    assert [notifier.channel for notifier in found] == ["webhook", "slack", "email", "github"]
    monkeypatch.delenv("GITHUB_TOKEN")
    with pytest.raises(ConfigError, match="needs GITHUB_TOKEN"):
        open_notifiers(AlertSettings.load())
