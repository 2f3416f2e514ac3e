"""The CI workflow, its composite actions, the git hooks, the dev container and the editor."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infrastructure.cli.__main__ import command_names
from shared.paths import ROOT
from tests.template.makefiles import HELP

WORKFLOW = ROOT / ".github/workflows/ci-cd.yml"
NIGHTLY = ROOT / ".github/workflows/nightly.yml"
HOOKS = ROOT / ".pre-commit-config.yaml"
DEVCONTAINER = ROOT / ".devcontainer/devcontainer.json"

ACTION_FILES = [
    *sorted((ROOT / ".github/workflows").glob("*.y*ml")),
    *sorted((ROOT / "infrastructure/cicd/github_actions").glob("*/action.yml")),
]
FILES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in ACTION_FILES]

TARGET = r"[a-z][a-z0-9-]*"
MAKE_STEP = re.compile(rf'make ({TARGET})(?: [A-Z_]+=\w+)*(?: >> "\$GITHUB_STEP_SUMMARY")?')
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")

# Steps without a make target, by name, and the programs that they may call.
OTHER_STEPS = {"Notify": {"jq", "curl"}, "Install Prometheus": {"sudo"}}

# Jobs, each with the jobs that must have passed before.
GRAPH: dict[str, list[str]] = {
    "code-quality": [],
    "unit-tests": ["code-quality"],
    "every-model": ["code-quality"],
    "model-training": ["unit-tests"],
    "build-service": ["model-training"],
    "integration-tests": ["build-service"],
    "deploy-staging": ["integration-tests", "every-model"],
    "deploy-production": ["integration-tests", "every-model"],
}

# The targets that the job of each name runs, in their order.
WORK = {
    "code-quality": ["lint-check"],
    "unit-tests": ["test-unit"],
    "every-model": ["ci"],
    "model-training": ["train", "validate", "state-save"],
    "build-service": ["state-load", "bento-build", "state-save"],
    "integration-tests": ["state-load", "test-integration"],
    "deploy-staging": ["state-load", "deploy", "smoke", "rollback-release", "status"],
    "deploy-production": ["state-load", "deploy", "smoke", "rollback-release", "status"],
}

DEPLOYMENTS = ["staging", "production"]


def load(path: Path) -> dict[str, Any]:
    """A YAML file as a dict; the key `on` stays a string."""
    document: dict[str, Any] = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)
    return document


def jobs() -> dict[str, dict[str, Any]]:
    """The jobs of the workflow by name."""
    found: dict[str, dict[str, Any]] = load(WORKFLOW)["jobs"]
    return found


def steps_of(path: Path) -> list[dict[str, Any]]:
    """All steps of a workflow, or of a composite action."""
    document = load(path)
    parts = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for part in parts for step in part["steps"]]


def targets_of(steps: list[dict[str, Any]]) -> list[str]:
    """The make targets that the steps run, in their order."""
    matches = [MAKE_STEP.fullmatch(step["run"].strip()) for step in steps if "run" in step]
    return [match[1] for match in matches if match]


def hooks() -> list[dict[str, Any]]:
    """All hooks of the pre-commit configuration."""
    return [hook for repo in load(HOOKS)["repos"] for hook in repo["hooks"]]


def ancestors(job: str) -> set[str]:
    """The jobs that have passed when this one starts."""
    return {above for need in GRAPH[job] for above in (need, *ancestors(need))}


def artifacts(job: str, direction: str) -> list[str]:
    """The names of what a job uploads or downloads."""
    action = f"actions/{direction}-artifact@"
    steps = jobs()[job]["steps"]
    return [step["with"]["name"] for step in steps if step.get("uses", "").startswith(action)]


def step_named(job: str, name: str) -> dict[str, Any]:
    """The step of that name in a job of the workflow."""
    return next(step for step in jobs()[job]["steps"] if step["name"] == name)


def test_the_workflow_and_a_composite_action_are_under_test() -> None:
    assert WORKFLOW in ACTION_FILES
    assert any(path.name == "action.yml" for path in ACTION_FILES)


@pytest.mark.parametrize("path", FILES)
def test_external_actions_are_pinned_by_commit_with_the_version_in_a_comment(path: Path) -> None:
    lines = re.findall(r"^ *(?:- )?uses: (.+)$", path.read_text("utf-8"), re.MULTILINE)
    assert len(lines) == sum("uses" in step for step in steps_of(path))
    for line in lines:
        if line.startswith("./"):
            assert (ROOT / line.split()[0] / "action.yml").is_file(), line
        else:
            assert PINNED.fullmatch(line), line


def test_one_action_has_one_pin_everywhere() -> None:
    pins = {step["uses"] for path in ACTION_FILES for step in steps_of(path) if "uses" in step}
    actions = [pin.split("@")[0] for pin in pins]
    assert sorted(actions) == sorted(set(actions))


@pytest.mark.parametrize("path", FILES)
def test_a_step_runs_one_make_target_or_is_a_known_exception(path: Path) -> None:
    for step in steps_of(path):
        if "run" in step and step["name"] not in OTHER_STEPS:
            assert MAKE_STEP.fullmatch(step["run"].strip()), step["run"]


@pytest.mark.parametrize("path", FILES)
def test_the_exceptions_call_none_of_the_projects_tools(path: Path) -> None:
    shell = {"if", "then", "fi", "exit"}
    command = re.compile(r"(?:^|[|;&]|\$\()\s*([a-z][\w-]*)", re.MULTILINE)
    for step in steps_of(path):
        if "run" in step and step["name"] in OTHER_STEPS:
            called = set(command.findall(step["run"].replace("\\\n", " ")))
            assert called <= OTHER_STEPS[step["name"]] | shell


@pytest.mark.parametrize("path", FILES)
def test_no_expression_is_interpolated_into_a_shell_script(path: Path) -> None:
    assert not [step["run"] for step in steps_of(path) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("path", [*FILES, pytest.param(HOOKS, id=HOOKS.name)])
def test_no_failure_is_swallowed(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"\|\|\s*(true|:)|continue-on-error|set \+e", text)


def test_every_called_make_target_exists() -> None:
    called = {target for path in ACTION_FILES for target in targets_of(steps_of(path))}
    called |= {hook["entry"].removeprefix("make ") for hook in hooks()}
    assert called
    assert called <= HELP.keys()


def test_jobs_run_in_the_order_of_the_tutorial() -> None:
    needs = {name: job.get("needs", []) for name, job in jobs().items()}
    assert {k: [v] if isinstance(v, str) else v for k, v in needs.items()} == GRAPH


@pytest.mark.parametrize("job", GRAPH)
def test_a_job_does_the_work_of_its_name(job: str) -> None:
    assert targets_of(jobs()[job]["steps"]) == WORK[job]


@pytest.mark.parametrize("job", GRAPH)
def test_jobs_check_out_without_a_token_and_set_up_the_same_way(job: str) -> None:
    checkout, setup = jobs()[job]["steps"][:2]
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"]["persist-credentials"] == "false"
    assert setup["uses"] == "./infrastructure/cicd/github_actions/setup"


def test_every_model_is_checked_by_the_target_for_clones_without_a_gpu() -> None:
    assert step_named("every-model", "Check with every model")["run"] == "make ci ACCELERATOR=cpu"
    assert "\nmake ci\n" in (ROOT / ".ci/run").read_text("utf-8")


def test_only_the_job_with_every_model_has_its_own_environment() -> None:
    inputs = {job: step_named(job, "Set up").get("with", {}) for job in GRAPH}
    assert {job: given for job, given in inputs.items() if given} == {
        "every-model": {"environment": "all"}
    }
    setup = load(ROOT / "infrastructure/cicd/github_actions/setup/action.yml")
    (cache,) = (step for step in setup["runs"]["steps"] if "key" in step.get("with", {}))
    assert cache["with"]["key"].startswith("env-${{ inputs.environment }}-")
    assert setup["inputs"]["environment"]["default"] == "dev"


@pytest.mark.parametrize("job", GRAPH)
def test_a_job_has_a_timeout_and_requests_no_permissions(job: str) -> None:
    assert 0 < int(jobs()[job]["timeout-minutes"]) <= 60
    assert "permissions" not in jobs()[job]


def test_the_workflow_may_only_read_the_repository() -> None:
    assert load(WORKFLOW)["permissions"] == {"contents": "read"}


def test_the_workflow_runs_on_pushes_pull_requests_and_manually() -> None:
    triggers = load(WORKFLOW)["on"]
    assert set(triggers) == {"push", "pull_request", "workflow_dispatch"}
    assert triggers["push"]["branches"] == ["main", "develop"]
    choice = triggers["workflow_dispatch"]["inputs"]["deploy_environment"]
    assert choice["options"] == DEPLOYMENTS


def test_every_test_runs_in_full_every_night_with_read_access_only() -> None:
    workflow = load(NIGHTLY)
    assert set(workflow["on"]) == {"schedule", "workflow_dispatch"}
    minute, hour, *days = workflow["on"]["schedule"][0]["cron"].split()
    assert minute.isdigit() and hour.isdigit() and days == ["*", "*", "*"]
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert 0 < int(job["timeout-minutes"]) <= 120
    assert job["steps"][1]["with"] == {"environment": "all"}
    assert job["steps"][2]["run"] == "make nightly ACCELERATOR=cpu"


def test_every_downloaded_artifact_was_uploaded_by_an_earlier_job() -> None:
    uploaded_by = {artifact: job for job in GRAPH for artifact in artifacts(job, "upload")}
    downloads = [(job, artifact) for job in GRAPH for artifact in artifacts(job, "download")]
    assert len(downloads) == 4
    for job, artifact in downloads:
        assert uploaded_by[artifact] in ancestors(job)


@pytest.mark.parametrize(
    ("environment", "branch", "other"),
    [("staging", "develop", "main"), ("production", "main", "develop")],
)
def test_an_environment_is_deployed_from_its_branch_or_manually(
    environment: str, branch: str, other: str
) -> None:
    job = jobs()[f"deploy-{environment}"]
    assert job["environment"] == environment
    assert f"'push' && github.ref == 'refs/heads/{branch}'" in job["if"]
    assert f"inputs.deploy_environment == '{environment}'" in job["if"]
    assert f"refs/heads/{other}" not in job["if"]
    assert "pull_request" not in job["if"]


@pytest.mark.parametrize("environment", DEPLOYMENTS)
def test_deployments_to_one_environment_never_overlap_or_stop_half_way(environment: str) -> None:
    group = jobs()[f"deploy-{environment}"]["concurrency"]
    assert group == {"group": f"deploy-{environment}", "cancel-in-progress": "false"}


@pytest.mark.parametrize("environment", DEPLOYMENTS)
def test_a_deployment_keeps_the_releases_in_the_workspace(environment: str) -> None:
    assert step_named(f"deploy-{environment}", "Check out")["with"]["clean"] == "false"


@pytest.mark.parametrize("environment", DEPLOYMENTS)
def test_only_a_completed_deployment_is_rolled_back(environment: str) -> None:
    job = f"deploy-{environment}"
    assert step_named(job, "Deploy")["id"] == "deploy"
    assert step_named(job, "Roll back")["if"] == "failure() && steps.deploy.outcome == 'success'"


@pytest.mark.parametrize("environment", DEPLOYMENTS)
def test_every_deployment_is_announced_whether_it_succeeds_or_fails(environment: str) -> None:
    job = f"deploy-{environment}"
    assert step_named(job, "Summarise")["if"] == "always()"
    notify = step_named(job, "Notify")
    assert notify["if"] == "always()"
    assert "curl --fail" in notify["run"]


def test_staging_rehearses_production_step_by_step() -> None:
    staging, production = (json.dumps(jobs()[f"deploy-{name}"]["steps"]) for name in DEPLOYMENTS)
    assert "production" not in staging
    assert staging.replace("staging", "production") == production


def test_git_hooks_only_call_make() -> None:
    stages = {hook["entry"]: hook["stages"] for hook in hooks()}
    assert stages == {"make lint-check": ["pre-commit"], "make test-unit": ["pre-push"]}
    for hook in hooks():
        assert hook["language"] == "system"
        assert hook["pass_filenames"] == "false"
        assert hook["always_run"] == "true"


def test_both_kinds_of_git_hook_are_installed() -> None:
    stages = [stage for hook in hooks() for stage in hook["stages"]]
    assert load(HOOKS)["default_install_hook_types"] == stages


def test_the_dev_container_uses_the_ordinary_install_script() -> None:
    shell, script, option = json.loads(DEVCONTAINER.read_text("utf-8"))["postCreateCommand"].split()
    assert (shell, option) == ("bash", "--install-only")
    assert (ROOT / script).is_file()


def test_the_dev_container_has_the_python_of_ci() -> None:
    setup = load(ROOT / "infrastructure/cicd/github_actions/setup/action.yml")
    python = setup["inputs"]["python-version"]["default"]
    image = json.loads(DEVCONTAINER.read_text("utf-8"))["image"]
    assert re.fullmatch(rf".+/python:\d+-{re.escape(python)}-\w+", image)


def test_the_dev_container_forwards_the_ports_of_the_service_mlflow_and_jupyter() -> None:
    container = json.loads(DEVCONTAINER.read_text("utf-8"))
    assert container["forwardPorts"] == [3000, 5000, 8888]
    assert set(container["portsAttributes"]) == {"3000", "5000", "8888"}
    assert all(port["label"] for port in container["portsAttributes"].values())


def _vscode(name: str) -> Any:
    return json.loads((ROOT / ".vscode" / name).read_text("utf-8"))


def test_the_tasks_of_the_editor_are_make_targets() -> None:
    commands = [task["command"] for task in _vscode("tasks.json")["tasks"]]
    assert {command.removeprefix("make ") for command in commands} <= HELP.keys()


def test_the_editor_debugs_commands_that_exist() -> None:
    files = _vscode("launch.json")["configurations"]
    modules = {each["module"] for each in files}
    assert modules == {"infrastructure.cli", "pytest"}
    called = [each["args"][0] for each in files if each["module"] == "infrastructure.cli"]
    assert called == ["train", "validate", "run"]
    assert set(called) <= set(command_names())


def test_the_editor_formats_as_make_lint() -> None:
    container = json.loads(DEVCONTAINER.read_text("utf-8"))["customizations"]["vscode"]
    settings = _vscode("settings.json")
    assert settings["editor.formatOnSave"]
    formatter = settings["[python]"]["editor.defaultFormatter"]
    assert formatter in container["extensions"]
