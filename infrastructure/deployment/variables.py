"""The environment variables that a release is started with, which stay with it.

A deployment keeps the variables of the previous release, except those that the shell sets. A
rollback uses the variables of the release that it goes back to; access (`ACCESS`) never becomes
wider than it is now unless the shell sets the variable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from application.inference.api_keys import ApiKeys, entry_of
from domain.errors import DeploymentError
from shared.console import show_step
from shared.settings import ServingSettings, Settings

KEYS = "SERVING_API_KEYS"
ACCESS = (KEYS, "SERVING_OPEN_PATHS", "SERVING_CORS_ORIGINS")
NO_KEYS = "none"  # value of KEYS that asks for a service without keys
LOG = "PREDICTION_LOG_URL"
ENVIRONMENT = "SERVING_ENVIRONMENT"  # the deployment sets it

Variables = Mapping[str, str]


def explicit_variables() -> dict[str, str]:
    """The variables that the shell or .env sets.

    Empty keys count as not set: a missing secret must not open a service.

    Raises:
        InvalidSettingError: a value is invalid.
        ConfigError: an API key is malformed.
    """
    serving, log_url = ServingSettings.load(), Settings.load().prediction_log_url
    explicit = {
        f"SERVING_{field}".upper(): _as_text(getattr(serving, field))
        for field in serving.model_fields_set
    }
    explicit.pop(ENVIRONMENT, None)
    if not explicit.get(KEYS, "").strip():
        explicit.pop(KEYS, None)
    if log_url:
        explicit[LOG] = log_url
    if not disables_keys(explicit):
        ApiKeys.parse(explicit.get(KEYS, ""))
    return explicit


def for_deployment(explicit: Variables, before: Variables | None) -> dict[str, str]:
    """The variables of a new release.

    Args:
        explicit: the variables that the shell or .env sets.
        before: the variables of the previous release; None if they are not on record.

    Raises:
        ConfigError: an API key is malformed.
        DeploymentError: the keys of the previous release are not on record, and the shell sets
            none.
    """
    recorded = _require_record(explicit, before)
    kept = {name: value for name, value in recorded.items() if name not in explicit}
    if kept:
        show_step("kept", f"{', '.join(sorted(kept))}, as before: set a variable to change it")
    return _checked({**kept, **explicit})


def for_rollback(
    explicit: Variables, previous: Variables | None, now: Variables | None
) -> dict[str, str]:
    """The variables of a release that is started again.

    Args:
        explicit: the variables that the shell or .env sets.
        previous: the variables that the release had; None if they are not on record.
        now: the variables of the release that it replaces; None if they are not on record.

    Raises:
        DeploymentError: the keys of a release are not on record, and the shell sets none.
    """
    variables, now = dict(_require_record(explicit, previous)), _require_record(explicit, now)
    kept = [name for name in ACCESS if name not in explicit and _is_wider(name, variables, now)]
    for name in kept:
        variables.pop(name, None)
        if name in now:
            variables[name] = now[name]
    if kept:
        show_step(
            "kept", f"{', '.join(kept)}, as now: the previous release would allow more access"
        )
    return _checked({**variables, **{name: explicit[name] for name in ACCESS if name in explicit}})


def _require_record(explicit: Variables, variables: Variables | None) -> Variables:
    if variables is None and KEYS not in explicit:
        raise DeploymentError(
            f"the API keys of the release are not on record: set {KEYS}, "
            f"or {KEYS}={NO_KEYS} for a service without keys"
        )
    return variables or {}


def _is_wider(name: str, variables: Variables, than: Variables) -> bool:
    """Whether an access variable allows something that the other variables do not."""
    fields = dict(ServingSettings.model_fields)
    default: str = fields[name.removeprefix("SERVING_").lower()].default
    first, second = (set(each.get(name, default).split()) for each in (variables, than))
    if name == KEYS and not (first and second):  # without keys, everybody has access
        return bool(second)
    return not first <= second


def _checked(variables: dict[str, str]) -> dict[str, str]:
    if disables_keys(variables):
        del variables[KEYS]
        show_step("open", f"{KEYS}={NO_KEYS}: the service accepts requests without a key")
    ApiKeys.parse(variables.get(KEYS, ""))
    return variables


def with_deployment_key(keys: str, key: str) -> str:
    """The keys of a service, with one for the golden requests of a deployment."""
    return f"{keys} {entry_of('deployment', key)}"


def requires_keys(explicit: Variables, before: Variables | None) -> bool:
    """Whether a service will require keys: those that the shell or .env sets, or the last ones."""
    return not disables_keys(explicit) and bool(explicit.get(KEYS) or (before or {}).get(KEYS))


def disables_keys(variables: Variables) -> bool:
    """Whether the variables ask for a service without keys."""
    return variables.get(KEYS, "").strip().lower() == NO_KEYS


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
