"""Settings of the place where the project runs: where state is kept, and how services behave.

Only entry points read them, from environment variables or a ``.env`` file in the root of the clone.
The defaults keep everything inside the clone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared import startup
from shared.paths import ROOT

LogFormat = Literal["auto", "json", "text"]


def default_log_url(folder: Path) -> str:
    """URL of the prediction log in a folder, where PREDICTION_LOG_URL is not set."""
    return f"sqlite:///{folder / 'predictions.db'}"


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


SECRETS = Path("/run/secrets")  # where container engines mount secrets, one file each
_SECRET = ("_url", "_token", "_keys")  # ends of the names of settings whose values are not shown


class InvalidSettingError(Exception):
    """A variable in the environment or in .env has an invalid value."""


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_file=ROOT / ".env", extra="ignore", frozen=True)

    @classmethod
    def load(cls) -> Self:
        """Read the environment, .env, and secrets of a container: files named like a variable.

        Raises:
            InvalidSettingError: .env is not UTF-8, or a value has the wrong type or is out of
                range; the message names the variable.
        """
        try:
            return cls(_secrets_dir=SECRETS if os.access(SECRETS, os.R_OK | os.X_OK) else None)
        except UnicodeDecodeError as error:
            file = cls.model_config.get("env_file")
            raise InvalidSettingError(f"{file} is not UTF-8: save it as UTF-8") from error
        except ValidationError as error:
            first = error.errors()[0]
            name = cls.model_config.get("env_prefix", "") + "_".join(map(str, first["loc"]))
            message = first["msg"].removeprefix("Value error, ")
            is_secret = name.lower().endswith(_SECRET)
            shown = "" if is_secret else f", got {str(first['input'])[:60]!r}"
            reason = f"{name.upper()}: {message}{shown}"
            raise InvalidSettingError(reason) from error


class Settings(_Environment):
    """Where state is kept.

    Relative paths start at the root of the clone, whatever the working directory. Without
    PREDICTION_LOG_URL a service logs its predictions to BENTOML_HOME, which is writable anyway.
    DATA_SNAPSHOTS is a folder, or s3://bucket/folder or gs://bucket/folder, for the data that
    models were trained on. WHISPER_MODEL overrides the weights in the configuration of speech;
    published weights are downloaded only with WHISPER_DOWNLOAD=1. API_KEY is what deployments send
    to services elsewhere, whose keys they do not make.
    """

    tracking_uri: str = Field(startup.TRACKING_URI, validation_alias="MLFLOW_TRACKING_URI")
    packages_dir: Path = Field(
        Path("application/registry/model_registry"), validation_alias="MODEL_REGISTRY_DIR"
    )
    bento_home: Path = Field(Path(startup.BENTO_HOME), validation_alias="BENTOML_HOME")
    receipts_dir: Path = Field(Path("build"), validation_alias="RECEIPTS_DIR")
    releases_dir: Path = Field(Path(".releases"), validation_alias="RELEASES_DIR")
    ledger: Path = Field(Path("ledger.jsonl"), validation_alias="LEDGER")
    prediction_log_url: str | None = Field(None, validation_alias="PREDICTION_LOG_URL")
    snapshots: str = Field("snapshots", min_length=1, validation_alias="DATA_SNAPSHOTS")
    whisper_model: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        None, validation_alias="WHISPER_MODEL"
    )
    whisper_download: bool = Field(False, validation_alias="WHISPER_DOWNLOAD")
    api_key: str = Field("", validation_alias="API_KEY", repr=False)

    @field_validator("packages_dir", "bento_home", "receipts_dir", "releases_dir", "ledger")
    @classmethod
    def _from_root(cls, path: Path) -> Path:
        return ROOT / path

    @field_validator("snapshots")
    @classmethod
    def _object_store_or_folder(cls, location: str) -> str:
        if not location.startswith(("s3://", "gs://")) and "://" in location:
            raise ValueError("use a folder, s3://bucket/folder or gs://bucket/folder")
        return location if "://" in location else str(ROOT / location)

    @field_validator("tracking_uri", "prediction_log_url")
    @classmethod
    def _sqlite_from_root(cls, uri: str | None) -> str | None:
        return None if uri is None else startup.absolute_uri(uri, str(ROOT))

    @field_validator("prediction_log_url")
    @classmethod
    def _has_a_driver(cls, url: str | None) -> str | None:
        """Refuse a URL that no installed driver can open, without showing its password."""
        if not url:
            return None
        # pylint: disable-next=import-outside-toplevel  # slow, and rarely needed
        from sqlalchemy import exc, make_url

        try:
            make_url(url).get_dialect().import_dbapi()
        except (exc.ArgumentError, ImportError, ValueError) as error:
            reason = "the port is not a number" if isinstance(error, ValueError) else error
            raise InvalidSettingError(
                f"PREDICTION_LOG_URL: {reason}: use a URL such as sqlite:///predictions.db, of a "
                "database whose driver is installed"
            ) from error
        return url


class ProcessSettings(_Environment):
    """Processes and port of a service, as make and Vertex AI set them.

    Attributes:
        workers: number of processes that answer requests.
        port: where a service listens unless it is started with another port.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True)

    workers: int = Field(1, gt=0, validation_alias="WORKERS")
    port: int = Field(3000, gt=0, lt=2**16, validation_alias="AIP_HTTP_PORT")


class AlertSettings(_Environment):
    """Where alerts go; what is empty is not used.

    Attributes:
        alert_webhook_url: gets JSON as Alertmanager posts it, from `make monitor` and `make watch`.
            The others get what `make watch` reports.
        alert_slack_url: an incoming webhook of Slack, or of a service that takes the same form.
        alert_email: addresses, separated by commas.
        smtp_url: mail server, such as ``smtp://user:password@mail.example.com:587``; ``smtps://``
            for TLS from the start. With ``smtp://``, TLS is used where the server offers it.
        alert_email_from: sender; by default the first address.
        alert_github_repository: owner/name of the repository that gets issues.
        github_token: may write its issues.
        github_api_url: for GitHub Enterprise.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True)

    alert_webhook_url: str = ""
    alert_slack_url: str = ""
    alert_email: str = ""
    smtp_url: str = "smtp://127.0.0.1:25"
    alert_email_from: str = ""
    alert_github_repository: str = ""
    github_token: str = ""
    github_api_url: str = "https://api.github.com"

    @field_validator("alert_webhook_url", "alert_slack_url", "github_api_url")
    @classmethod
    def _is_web_address(cls, url: str) -> str:
        form, advice = r"(https?://[^\s/@]+(/\S*)?)?", "use a URL such as https://host/path"
        return _matching(url, form, advice)

    @field_validator("smtp_url")
    @classmethod
    def _is_mail_server(cls, url: str) -> str:
        form = r"smtps?://([^\s/@]*@)?[^\s/@:]+(:\d{1,5})?/?"
        return _matching(url, form, "use a URL such as smtp://user:password@host:587")

    @field_validator("alert_email", "alert_email_from")
    @classmethod
    def _are_addresses(cls, text: str) -> str:
        one = r"[^\s@,<>]+@[^\s@,<>]+"
        form = rf"({one}( *, *{one})*)?"
        return _matching(text, form, "use addresses such as team@example.com, with commas between")

    @field_validator("alert_github_repository")
    @classmethod
    def _is_repository(cls, name: str) -> str:
        return _matching(name, r"([\w.-]+/[\w.-]+)?", "use owner/name")

    @field_validator("github_token")
    @classmethod
    def _is_one_word(cls, token: str) -> str:
        return _matching(token.strip(), r"[!-~]*", "use the token alone")


def _matching(text: str, form: str, advice: str) -> str:
    if not re.fullmatch(form, text):
        raise ValueError(advice)
    return text


class MonitorSettings(AlertSettings):
    """Where `make monitor` listens on 127.0.0.1.

    Attributes:
        prometheus_port, alertmanager_port, grafana_port: their ports.
    """

    prometheus_port: int = Field(9090, gt=0, lt=2**16)
    alertmanager_port: int = Field(9093, gt=0, lt=2**16)
    grafana_port: int = Field(3030, gt=0, lt=2**16)


class ServingSettings(_Environment):
    """Configuration of a service, by environment variables with the prefix ``SERVING_``.

    Attributes:
        max_body_bytes: largest request body; a larger one is refused with 413.
        max_lines_bytes: the same for a body of JSON lines.
        max_rows: maximum number of rows of a request.
        deadline_seconds: from the last byte of a request to its response, else 504.
        head_seconds: for the request line and headers to arrive, else 408.
        body_seconds: for a body to arrive, else 408.
        queue: maximum number of waiting requests of a worker; further ones are refused with 503.
        threads: number of threads of a model call.
        drain_seconds: how long a stopping service still accepts requests.
        monitoring: whether predictions are counted and logged.
        retention_days: how long predictions and their labels are kept, instead of as the model's
            configuration says.
        spool_bytes: largest size of the files in which predictions wait while the log is down.
        environment: name of the deployment, for the prediction log; empty: none is logged.
        api_keys: valid keys, as written by `make api-key`, separated by spaces; empty: no key is
            needed.
        open_paths: paths that need no key, separated by spaces.
        cors_origins: web origins whose pages may send requests, separated by spaces.
        access_log: whether to log a line for each request.
        log_format: ``json``, ``text``, or ``auto``: text on a terminal, else JSON.
        proxy_protocol: whether connections may begin with the address of their client, as a proxy
            that all of them come from writes it (PROXY protocol, version 1).
    """

    model_config = SettingsConfigDict(env_prefix="SERVING_")

    max_body_bytes: int = Field(8 * 2**20, gt=0)
    max_lines_bytes: int = Field(64 * 2**20, gt=0)
    max_rows: int = Field(10_000, gt=0)
    deadline_seconds: float = Field(30.0, gt=0)
    head_seconds: float = Field(10.0, gt=0)
    body_seconds: float = Field(30.0, gt=0)
    queue: int = Field(64, ge=0)
    threads: int = Field(1, gt=0)
    drain_seconds: float = Field(0.5, ge=0)
    monitoring: bool = True
    retention_days: Annotated[float | None, BeforeValidator(_none_if_empty)] = Field(None, gt=0)
    spool_bytes: int = Field(256 * 2**20, ge=0)
    environment: str = Field("", max_length=64)
    api_keys: str = ""
    open_paths: str = "/livez /readyz /healthz /ping /v2/health/live /v2/health/ready /metrics"
    cors_origins: str = ""
    access_log: bool = False
    log_format: LogFormat = "auto"
    proxy_protocol: bool = False
