"""The place that the project runs in: one setting for each place where state lives.

Read at entry points only. Every value can be given in the environment or in a ``.env`` file at the
root of the clone; the defaults keep everything inside the clone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared import startup
from shared.paths import ROOT

LogFormat = Literal["auto", "json", "text"]


class InvalidSettingError(Exception):
    """A variable in the environment or in .env has a value that cannot be right."""


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_file=ROOT / ".env", extra="ignore", frozen=True)

    @classmethod
    def load(cls) -> Self:
        """Read the environment and .env.

        Raises:
            InvalidSettingError: a value has the wrong type or is out of range; the message names
                the variable.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = cls.model_config.get("env_prefix", "") + "_".join(map(str, first["loc"]))
            reason = f"{name.upper()}: {first['msg']}, got {str(first['input'])[:60]!r}"
            raise InvalidSettingError(reason) from error


class Settings(_Environment):
    """Places, by environment variable.

    Relative paths are taken from the root of the clone, whatever the working directory. Without
    PREDICTION_LOG_URL a service keeps its predictions in BENTOML_HOME, where it may write anyway.
    WHISPER_MODEL stands for the weights that the configuration of speech names; published weights
    that are not on this machine are downloaded with WHISPER_DOWNLOAD=1 only.
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
    whisper_model: str | None = Field(None, validation_alias="WHISPER_MODEL")
    whisper_download: bool = Field(False, validation_alias="WHISPER_DOWNLOAD")

    @field_validator("packages_dir", "bento_home", "receipts_dir", "releases_dir", "ledger")
    @classmethod
    def _from_root(cls, path: Path) -> Path:
        return ROOT / path

    @field_validator("tracking_uri", "prediction_log_url")
    @classmethod
    def _sqlite_from_root(cls, uri: str | None) -> str | None:
        return None if uri is None else startup.absolute_uri(uri, str(ROOT))


class ServingSettings(_Environment):
    """How a service answers, by environment variable with the prefix ``SERVING_``.

    Attributes:
        max_body_bytes: largest body; a larger one is refused with 413.
        max_lines_bytes: the same for a body of one JSON object a line.
        max_rows: most rows of one request.
        deadline_seconds: how long a request may take from its last byte to its answer, else 504.
        head_seconds: how long the head of a request may take to arrive, else 408.
        body_seconds: how long a body may take to arrive, else 408.
        queue: most requests of a worker that wait for their turn; one more is sent away with 503.
        threads: threads of one call of the model.
        drain_seconds: how long a service that is told to stop still takes requests.
        monitoring: whether predictions are counted and logged.
        api_keys: keys that may ask, as `make api-key` writes them, with spaces between them; where
            none is set everybody may.
        open_paths: paths that need no key, with spaces between them.
        cors_origins: web origins that browsers may ask from, with spaces between them.
        access_log: whether each request is a line of the log.
        log_format: ``json``, ``text``, or ``auto``: text on a terminal, else JSON.
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
    api_keys: str = ""
    open_paths: str = "/livez /readyz /healthz /ping /v2/health/live /v2/health/ready /metrics"
    cors_origins: str = ""
    access_log: bool = False
    log_format: LogFormat = "auto"
