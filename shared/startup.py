"""Startup of every Python process of .venv: sets paths of this clone, and a few options of
libraries, as environment variables.

The installer copies scripts/setup/mlops_template.pth into .venv: it puts the clone on sys.path, by
a path relative to .venv, and calls `prepare`. So `bentoml`, `mlflow`, notebooks and debuggers use
the same stores as make, from any folder, and a copied or moved clone uses its own. Variables that
are already set are kept.

Imports here slow down every process.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
BENTO_HOME = ".bentoml"
TRACKING_URI = "sqlite:///mlflow.db"

# Child processes inherit the values set here, and may belong to another clone. This variable lists
# them, to distinguish them from values that the user has set.
_SET_HERE = "MLOPS_TEMPLATE_DEFAULTS"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SQLITE = "sqlite:///"


def prepare(environ: MutableMapping[str, str] = os.environ, root: str = ROOT) -> None:
    """Set the variables of a clone's .env file and the default paths, unless they are set already.

    Args:
        environ: the environment of a process.
        root: the clone.
    """
    for line in environ.pop(_SET_HERE, "").split("\x1e"):
        name, _, value = line.partition("=")
        if environ.get(name) == value:
            del environ[name]
    if environ.get("MLFLOW_TRACKING_URI") == "":  # as CI sets what it has no value for
        del environ["MLFLOW_TRACKING_URI"]
    defaults = {
        "BENTOML_HOME": BENTO_HOME,
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_TRACKING_URI": TRACKING_URI,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # through the tracking server, as its store is often out of a client's reach
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
        "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime
        "OMP_WAIT_POLICY": "PASSIVE",  # idle threads sleep, instead of keeping others off a core
        **_env_file(os.path.join(root, ".env")),
    }
    chosen = {name: value for name, value in defaults.items() if name not in environ}
    environ.update(chosen)
    # BentoML and MLflow would resolve a relative path against the working directory
    environ["BENTOML_HOME"] = os.path.join(root, environ["BENTOML_HOME"])
    environ["MLFLOW_TRACKING_URI"] = absolute_uri(environ["MLFLOW_TRACKING_URI"], root)
    environ[_SET_HERE] = "\x1e".join(f"{name}={environ[name]}" for name in chosen)
    _bypass_proxies(environ)


def absolute_uri(uri: str, root: str) -> str:
    """The URI of a database, with a relative SQLite path resolved against `root`."""
    if not uri.startswith(_SQLITE):
        return uri
    return f"{_SQLITE}{os.path.join(root, uri.removeprefix(_SQLITE))}"


def _env_file(path: str) -> dict[str, str]:
    """The variables of a .env file; empty if it or python-dotenv is missing, or it is unreadable,
    which `shared.settings` reports."""
    if not os.path.exists(path):
        return {}
    try:
        # pylint: disable-next=import-outside-toplevel  # slow, and most clones have no .env file
        from dotenv import dotenv_values

        values = dotenv_values(path)
    except (ImportError, OSError, UnicodeDecodeError):
        return {}
    return {
        name: value
        for name, value in values.items()
        if value is not None and "\0" not in name + value
    }


def _bypass_proxies(environ: MutableMapping[str, str]) -> None:
    """Exclude this machine from proxies."""
    if not any(name.lower().endswith("_proxy") for name in environ):
        return
    hosts = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(",")
    kept = [host.strip() for host in hosts if host.strip()]
    kept += [host for host in _LOOPBACK if host not in kept]
    environ["no_proxy"] = environ["NO_PROXY"] = ",".join(kept)
