"""The variables that a release is started with, which travel with it.

A deployment keeps those of the release before it: a variable that the shell does not name stays as
it is. A rollback takes those of the release that it goes back to, except that access (`ACCESS`)
never becomes wider than it is now unless the shell names the variable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from application.inference.api_keys import ApiKeys
from domain.errors import DeploymentError
from shared.console import show_step
from shared.settings import ServingSettings, Settings

KEYS = "SERVING_API_KEYS"
ACCESS = (KEYS, "SERVING_OPEN_PATHS", "SERVING_CORS_ORIGINS")
WITHOUT = "none"  # what KEYS is set to where a service without keys is wanted
LOG = "PREDICTION_LOG_URL"

Variables = Mapping[str, str]


def named_variables() -> dict[str, str]:
    """What the environment and .env say. Empty keys say nothing: a secret that is not there must
    not open a service.

    Raises:
        InvalidSettingError: a value cannot be right.
        ConfigError: an entry of the keys is malformed.
    """
    serving, log_url = ServingSettings.load(), Settings.load().prediction_log_url
    named = {
        f"SERVING_{field}".upper(): _as_text(getattr(serving, field))
        for field in serving.model_fields_set
    }
    if not named.get(KEYS, "").strip():
        named.pop(KEYS, None)
    if log_url:
        named[LOG] = log_url
    if not _is_without(named):
        ApiKeys.parse(named.get(KEYS, ""))
    return named


def for_deployment(named: Variables, before: Variables | None) -> dict[str, str]:
    """The variables of a new release.

    Args:
        before: those of the release before it; None where they are not on record.

    Raises:
        ConfigError: an API key is malformed.
        DeploymentError: the keys of the release are not on record, and the shell names none.
    """
    kept = {name: value for name, value in _known(named, before).items() if name not in named}
    if kept:
        show_step("kept", f"{', '.join(sorted(kept))}, as before: set a variable to change it")
    return _checked({**kept, **named})


def for_rollback(
    named: Variables, previous: Variables | None, now: Variables | None
) -> dict[str, str]:
    """The variables of a release that is started again.

    Args:
        previous: those that it had.
        now: those of the release that it replaces; None where they are not on record.

    Raises:
        DeploymentError: the keys of the release are not on record, and the shell names none.
    """
    variables, now = dict(_known(named, previous)), _known(named, now)
    kept = [name for name in ACCESS if name not in named and _is_wider(name, variables, now)]
    for name in kept:
        variables.pop(name, None)
        if name in now:
            variables[name] = now[name]
    if kept:
        show_step("kept", f"{', '.join(kept)}, as now: the previous release is less restrictive")
    return _checked({**variables, **{name: named[name] for name in ACCESS if name in named}})


def _known(named: Variables, variables: Variables | None) -> Variables:
    if variables is None and KEYS not in named:
        raise DeploymentError(
            f"which API keys the release asked for is not on record: set {KEYS}, "
            f"or {KEYS}={WITHOUT} for a service without keys"
        )
    return variables or {}


def _is_wider(name: str, variables: Variables, than: Variables) -> bool:
    """Whether a variable lets somebody pass whom the other one does not."""
    fields = dict(ServingSettings.model_fields)
    default: str = fields[name.removeprefix("SERVING_").lower()].default
    here, there = (set(given.get(name, default).split()) for given in (variables, than))
    if name == KEYS and not (here and there):  # no key: everybody
        return bool(there)
    return not here <= there


def _checked(variables: dict[str, str]) -> dict[str, str]:
    if _is_without(variables):
        del variables[KEYS]
        show_step("open", f"{KEYS}={WITHOUT}: everybody may ask")
    ApiKeys.parse(variables.get(KEYS, ""))
    return variables


def _is_without(variables: Variables) -> bool:
    return variables.get(KEYS, "").strip().lower() == WITHOUT


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
