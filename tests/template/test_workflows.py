"""The workflows, their composite actions, the git hooks, the dev container and the editor."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from infrastructure.cli.__main__ import command_names
from infrastructure.deployment.local import PORTS
from shared.paths import ROOT
from shared.settings import MonitorSettings
from tests.served import Home, commit_all, free_port
from tests.template.makefiles import HELP
from tests.webhook import webhook

WORKFLOW = ROOT / ".github/workflows/ci-cd.yml"
DEPLOY = ROOT / ".github/workflows/deploy.yml"
RELEASE = ROOT / ".github/workflows/release.yml"
WATCH = ROOT / ".github/workflows/watch.yml"
NIGHTLY = ROOT / ".github/workflows/nightly.yml"
HOOKS = ROOT / ".pre-commit-config.yaml"
DEVCONTAINER = ROOT / ".devcontainer/devcontainer.json"
CUDA_CONTAINER = ROOT / ".devcontainer/cuda/devcontainer.json"

ACTION_FILES = [
    *sorted((ROOT / ".github/workflows").glob("*.y*ml")),
    *sorted((ROOT / "infrastructure/cicd/github_actions").glob("*/action.yml")),
]
FILES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in ACTION_FILES]

TARGET = r"[a-z][a-z0-9-]*"
VALUE = r'(?:\w+|"\$[A-Z_]+"|"\$\{[A-Z_]+,,\}")'
MAKE_STEP = re.compile(
    rf'make ({TARGET})(?: [A-Z_]+={VALUE})*(?: >> "\$GITHUB_(?:STEP_SUMMARY|OUTPUT)")?'
)
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")

# Steps without a make target, by name, and the programs that they may call.
OTHER_STEPS = {
    "Notify": {"jq", "curl", "echo"},
    "Install Prometheus": {"sudo"},
    "Find the last state": {"gh", "echo"},
    "Comment": {"gh", "cat", "echo"},
    "Find the build": {"gh", "echo"},
    "Log in": {"docker"},
    "Read the receipt": {"jq"},
    "Publish": {"gh"},
}

# Jobs, each with the jobs that must have passed before.
GRAPH: dict[str, list[str]] = {
    "code-quality": [],
    "unit-tests": ["code-quality"],
    "every-model": ["code-quality"],
    "model-training": ["code-quality", "unit-tests"],
    "verdict": ["model-training"],
    "build-service": ["model-training"],
    "integration-tests": ["build-service"],
    "deploy-staging": ["integration-tests", "every-model"],
    "deploy-production": ["deploy-staging"],
}

# The targets that the job of each name runs, in their order.
DEPLOYMENT = ["state-load", "deploy", "smoke", "rollback-release", "state-save", "status"]
WORK = {
    "code-quality": ["changes", "lint-check", "secrets"],
    "unit-tests": ["test-unit"],
    "every-model": ["ci"],
    "model-training": ["state-load", "checkgpu", "train", "validate", "verdict", "state-save"],
    "verdict": [],
    "build-service": ["state-load", "bento-build", "containerize", "gc", "state-save"],
    "integration-tests": ["state-load", "test-integration"],
    "deploy-staging": DEPLOYMENT,
    "deploy-production": DEPLOYMENT,
}
MAKE_JOBS = [job for job, targets in WORK.items() if targets]
TRAINED = ("every-model", "model-training")  # not after a change of documents

DEPLOYMENTS = ["staging", "production"]


def load(path: Path) -> dict[str, Any]:
    """A YAML file as a dict; the key `on` stays a string."""
    document: dict[str, Any] = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)
    return document


def jobs() -> dict[str, dict[str, Any]]:
    """The jobs of the workflow by name; of one that calls deploy.yml, with the steps there."""
    found: dict[str, dict[str, Any]] = load(WORKFLOW)["jobs"]
    (deployment,) = load(DEPLOY)["jobs"].values()
    return {name: {**deployment, **job} if "uses" in job else job for name, job in found.items()}


def steps_of(path: Path) -> list[dict[str, Any]]:
    """All steps of a workflow, or of a composite action."""
    document = load(path)
    parts = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for part in parts for step in part.get("steps", [])]


def targets_of(steps: list[dict[str, Any]]) -> list[str]:
    """The make targets that the steps run, in their order."""
    matches = [MAKE_STEP.fullmatch(step["run"].strip()) for step in steps if "run" in step]
    return [match[1] for match in matches if match]


def local_hooks() -> list[dict[str, Any]]:
    """The hooks of the pre-commit configuration that call make."""
    repos = load(HOOKS)["repos"]
    return [hook for repo in repos if repo["repo"] == "local" for hook in repo["hooks"]]


def changes(clone: Home, commit: str) -> str:
    """What `make changes` prints for a clone."""
    command = ["make", "--silent", "changes", f"COMMIT={commit}"]
    done = subprocess.run(command, cwd=clone.root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def run_step(step: dict[str, Any], folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a step as GitHub does, in a folder."""
    environment = {
        "GITHUB_REPOSITORY": "me/project",
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_RUN_ID": "7",
        "GITHUB_SHA": "abcdef",
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env={**os.environ, **environment, **given},
        capture_output=True,
        text=True,
        check=False,
    )


def ancestors(job: str) -> set[str]:
    """The jobs that have passed when this one starts."""
    return {above for need in GRAPH[job] for above in (need, *ancestors(need))}


def artifacts(job: str, direction: str) -> list[str]:
    """The names of what a job uploads or downloads; not what it downloads from another run."""
    action = f"actions/{direction}-artifact@"
    steps = [step for step in jobs()[job]["steps"] if step.get("uses", "").startswith(action)]
    names = [step["with"]["name"] for step in steps if "run-id" not in step["with"]]
    for key, value in jobs()[job].get("with", {}).items():
        names = [name.replace(f"${{{{ inputs.{key} }}}}", value) for name in names]
    return names


def step_named(job: str, name: str) -> dict[str, Any]:
    """The step of that name in a job of the workflow."""
    return next(step for step in jobs()[job]["steps"] if step["name"] == name)


def test_the_workflow_and_a_composite_action_are_under_test() -> None:
    assert WORKFLOW in ACTION_FILES
    assert any(path.name == "action.yml" for path in ACTION_FILES)


@pytest.mark.parametrize("path", FILES)
def test_external_actions_are_pinned_by_commit_with_the_version_in_a_comment(path: Path) -> None:
    lines = re.findall(r"^ *(?:- )?uses: (.+)$", path.read_text("utf-8"), re.MULTILINE)
    called = [job for job in load(path).get("jobs", {}).values() if "uses" in job]
    assert len(lines) == sum("uses" in step for step in [*steps_of(path), *called])
    for line in lines:
        if line.startswith("./"):
            target = ROOT / line.split()[0]
            assert (target if target.suffix else target / "action.yml").is_file(), line
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
    shell = {"if", "then", "else", "fi", "exit"}
    command = re.compile(r"(?:^|[|;&]|\$\()\s*([a-z][\w-]*)(?![\w-]*=)", re.MULTILINE)
    for step in steps_of(path):
        if "run" in step and step["name"] in OTHER_STEPS:
            script = re.sub(r"'[^']*'", "''", step["run"].replace("\\\n", " "))
            called = set(command.findall(script))
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
    called |= {hook["entry"].removeprefix("make ") for hook in local_hooks()}
    assert called
    assert called <= HELP.keys()


def test_jobs_run_in_the_order_of_the_tutorial() -> None:
    needs = {name: job.get("needs", []) for name, job in jobs().items()}
    assert {k: [v] if isinstance(v, str) else v for k, v in needs.items()} == GRAPH


@pytest.mark.parametrize("job", GRAPH)
def test_a_job_does_the_work_of_its_name(job: str) -> None:
    assert targets_of(jobs()[job]["steps"]) == WORK[job]


@pytest.mark.parametrize("job", MAKE_JOBS)
def test_jobs_check_out_without_a_token_and_set_up_the_same_way(job: str) -> None:
    checkout, setup = jobs()[job]["steps"][:2]
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"]["persist-credentials"] == "false"
    assert setup["uses"] == "./infrastructure/cicd/github_actions/setup"


def test_every_model_is_checked_by_the_target_for_clones_without_a_gpu() -> None:
    assert step_named("every-model", "Check with every model")["run"] == "make ci ACCELERATOR=cpu"
    assert "\nmake ci\n" in (ROOT / ".ci/run").read_text("utf-8")


def test_only_the_job_with_every_model_has_its_own_environment() -> None:
    inputs = {job: step_named(job, "Set up").get("with", {}) for job in MAKE_JOBS}
    assert {job: given for job, given in inputs.items() if given} == {
        "unit-tests": {"python-version": "${{ matrix.python }}"},
        "every-model": {"environment": "all"},
    }
    setup = load(ROOT / "infrastructure/cicd/github_actions/setup/action.yml")
    (cache,) = (step for step in setup["runs"]["steps"] if "key" in step.get("with", {}))
    assert cache["with"]["key"].startswith("env-${{ inputs.environment }}-")
    assert setup["inputs"]["environment"]["default"] == "dev"


def test_unit_tests_run_on_every_python_that_can_be_installed() -> None:
    pythons = jobs()["unit-tests"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"] == ">=3.11,<3.14"
    assert pythons == ["3.11", "3.12", "3.13"]


@pytest.mark.parametrize("job", GRAPH)
def test_a_job_has_a_timeout(job: str) -> None:
    assert 0 < int(jobs()[job]["timeout-minutes"]) <= 60


def test_only_the_comment_on_a_pull_request_needs_to_write() -> None:
    requested = {name: job["permissions"] for name, job in jobs().items() if "permissions" in job}
    assert requested == {
        "model-training": {"contents": "read", "actions": "read"},
        "verdict": {"pull-requests": "write"},
    }


def test_the_job_that_may_comment_runs_no_code_of_the_pull_request() -> None:
    job = jobs()["verdict"]
    assert "github.event.pull_request.head.repo.full_name == github.repository" in job["if"]
    download, comment = job["steps"]
    assert download["uses"].startswith("actions/download-artifact@")
    assert comment["name"] == "Comment"


def test_the_workflow_may_only_read_the_repository() -> None:
    for path in (WORKFLOW, DEPLOY, WATCH, RELEASE, NIGHTLY):
        assert load(path)["permissions"] == {"contents": "read"}, path.name


@pytest.mark.parametrize("job", TRAINED)
def test_a_change_of_documents_trains_nothing(job: str) -> None:
    assert jobs()[job]["if"] == "needs.code-quality.outputs.code == 'true'"
    step = step_named("code-quality", "See whether only documents changed")
    assert step["id"] == "changes"
    assert jobs()["code-quality"]["outputs"] == {"code": "${{ steps.changes.outputs.code }}"}
    assert step_named("code-quality", "Check out")["with"]["fetch-depth"] == "0"


def test_changed_documents_are_distinguished_from_other_changes(copy: Home) -> None:
    (copy.root / "docs/new.md").write_text("New.\n", encoding="utf-8")
    (copy.root / "README.md").write_text("Changed.\n", encoding="utf-8")
    document = commit_all(copy.root, "documents")
    assert changes(copy, f"{document}~1") == "code=false"
    (copy.root / "shared/new.py").write_text("", encoding="utf-8")
    commit_all(copy.root, "code")
    assert changes(copy, document) == "code=true"
    assert changes(copy, "") == changes(copy, "0" * 40) == "code=true"


def test_pull_requests_do_not_change_the_registry_of_all_runs() -> None:
    uri = load(WORKFLOW)["env"]["MLFLOW_TRACKING_URI"]
    assert uri.startswith("${{ github.event_name != 'pull_request' && vars.MLFLOW_TRACKING_URI")
    for path in (DEPLOY, WATCH, RELEASE):
        found = load(path)["env"]["MLFLOW_TRACKING_URI"]
        assert found == "${{ vars.MLFLOW_TRACKING_URI }}", path.name


def test_the_last_state_is_that_of_the_branch_and_never_of_a_fork() -> None:
    step = step_named("model-training", "Find the last state")
    assert step["env"]["BRANCH"] == "${{ github.base_ref || github.ref_name }}"
    assert ".workflow_run.head_branch == env.BRANCH" in step["run"]
    assert "(.workflow_run.head_repository_id | tostring) == env.REPOSITORY_ID" in step["run"]


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
    job, audit = workflow["jobs"]["nightly"], workflow["jobs"]["audit"]
    assert 0 < int(job["timeout-minutes"]) <= 120
    assert job["steps"][1]["with"] == {"environment": "all"}
    assert job["steps"][2]["run"] == "make nightly ACCELERATOR=cpu"
    assert targets_of(audit["steps"]) == ["audit"]


def test_every_downloaded_artifact_was_uploaded_by_an_earlier_job() -> None:
    uploaded_by = {artifact: job for job in GRAPH for artifact in artifacts(job, "upload")}
    downloads = [(job, artifact) for job in GRAPH for artifact in artifacts(job, "download")]
    assert len(downloads) == 5
    for job, artifact in downloads:
        assert uploaded_by[artifact] in ancestors(job)


@pytest.mark.parametrize("environment", DEPLOYMENTS)
def test_an_environment_has_its_own_runner_port_and_rules(environment: str) -> None:
    job = jobs()[f"deploy-{environment}"]
    assert job["with"]["environment"] == environment
    assert job["environment"] == "${{ inputs.environment }}"
    assert job["with"]["runner"].startswith(f"${{{{ vars.{environment.upper()}_RUNNER ||")
    assert job["with"]["port"] == f"${{{{ vars.{environment.upper()}_PORT }}}}"
    assert 'PORT="$SERVICE_PORT"' in step_named(f"deploy-{environment}", "Deploy")["run"]


def test_staging_gets_what_is_pushed_and_production_what_is_pushed_to_main() -> None:
    staging, production = (jobs()[f"deploy-{name}"]["if"] for name in DEPLOYMENTS)
    assert "pull_request" not in staging + production
    assert "github.event_name == 'push'" in staging
    assert "'push' && github.ref == 'refs/heads/main'" in production
    assert "inputs.deploy_environment == 'production'" in production


def test_production_gets_the_build_that_staging_has_deployed() -> None:
    assert artifacts("deploy-staging", "download") == ["state-built"]
    assert artifacts("deploy-staging", "upload") == ["state-staging"]
    assert artifacts("deploy-production", "download") == ["state-staging"]
    names = [step["name"] for step in jobs()["deploy-staging"]["steps"]]
    assert names.index("Smoke test") < names.index("Pack the state")


@pytest.mark.parametrize("environment", DEPLOYMENTS)
def test_deployments_to_one_environment_never_overlap_or_stop_half_way(environment: str) -> None:
    group = jobs()[f"deploy-{environment}"]["concurrency"]
    assert group == {"group": "deploy-${{ inputs.environment }}", "cancel-in-progress": "false"}
    assert load(WATCH)["concurrency"]["group"] == "deploy-production"


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


@pytest.mark.parametrize(
    ("url", "kind", "result", "sent"),
    [
        ("", "self-hosted", "success", None),
        ("yes", "self-hosted", "failure", "deployment to staging: failure (deploy: success"),
        ("yes", "github-hosted", "success", "rehearsal of a deployment to staging: success"),
    ],
)
def test_a_notification_says_what_happened(
    url: str, kind: str, result: str, sent: str | None, tmp_path: Path
) -> None:
    with webhook() as (address, messages):
        done = run_step(
            step_named("deploy-staging", "Notify"),
            tmp_path,
            DEPLOY_ENVIRONMENT="staging",
            NOTIFY_WEBHOOK_URL=url and address,
            RESULT=result,
            DEPLOYED="success",
            ROLLED_BACK="success",
            RUNNER_KIND=kind,
        )
    assert done.returncode == 0, done.stderr
    if sent is None:
        assert not messages
        assert "nobody was notified" in done.stdout
    else:
        assert sent in messages[0]["text"]
        assert messages[0]["text"].endswith("/me/project/actions/runs/7")


def test_a_notification_that_is_not_delivered_fails(tmp_path: Path) -> None:
    step = step_named("deploy-staging", "Notify")
    given = {"DEPLOY_ENVIRONMENT": "staging", "RESULT": "success", "DEPLOYED": "success"}
    address = f"http://127.0.0.1:{free_port()}"
    step = {**step, "run": step["run"].replace("--retry 3", "--retry 0")}
    done = run_step(
        step, tmp_path, NOTIFY_WEBHOOK_URL=address, ROLLED_BACK="", RUNNER_KIND="", **given
    )
    assert done.returncode != 0


@pytest.mark.parametrize("found", ["", "41\n42\n"])
def test_the_verdict_is_one_comment_that_is_changed_by_later_runs(
    found: str, tmp_path: Path
) -> None:
    verdict = tmp_path / "iris/validation/verdict.md"
    verdict.parent.mkdir(parents=True)
    verdict.write_text("### some_model: accepted\n", encoding="utf-8")
    fake = tmp_path / "bin/gh"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/bash\necho "$*" >>calls\n[[ "$*" != *--paginate* ]] || printf "$FOUND"\n'
    )
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    given = {"NUMBER": "5", "REPORT_URL": "https://report", "MARKER": "<!-- m -->"}
    done = run_step(step_named("verdict", "Comment"), tmp_path, PATH=path, FOUND=found, **given)
    assert done.returncode == 0, done.stderr
    last = (tmp_path / "calls").read_text("utf-8").splitlines()[-1]
    method = "--method PATCH" if found else "--method POST"
    place = "issues/comments/41" if found else "issues/5/comments"
    assert last == f"api {method} repos/me/project/{place} --field body=@comment.md"
    comment = (tmp_path / "comment.md").read_text("utf-8")
    assert comment.startswith("<!-- m -->\n### some_model: accepted\n")
    assert "[Report with figures](https://report)" in comment


def test_a_release_publishes_the_build_that_production_got() -> None:
    workflow = load(RELEASE)
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    (job,) = workflow["jobs"].values()
    assert targets_of(job["steps"]) == ["state-load", "containerize", "push"]
    download = next(each for each in job["steps"] if "download-artifact" in each.get("uses", ""))
    assert download["with"]["name"] == "state-production"
    attested = [step["with"] for step in job["steps"] if "actions/attest@" in step.get("uses", "")]
    assert len({each["subject-digest"] for each in attested}) == 1
    assert [each.get("sbom-path", "") != "" for each in attested] == [False, True]


def test_a_release_attests_the_image_in_the_receipt_of_the_push(tmp_path: Path) -> None:
    receipt = tmp_path / "build/petals/push.json"
    receipt.parent.mkdir(parents=True)
    digest = f"sha256:{'0' * 64}"
    receipt.write_text(json.dumps({"reference": f"ghcr.io/me/petals@{digest}", "digest": digest}))
    (job,) = load(RELEASE)["jobs"].values()
    step = next(step for step in job["steps"] if step["name"] == "Read the receipt")
    output = tmp_path / "output"
    done = run_step(step, tmp_path, GITHUB_OUTPUT=str(output))
    assert done.returncode == 0, done.stderr
    assert output.read_text("utf-8").splitlines() == [
        "name=ghcr.io/me/petals",
        f"digest={digest}",
        "sbom=build/petals/sbom.cdx.json",
    ]


def test_git_hooks_only_call_make_and_gitleaks() -> None:
    stages = {hook["entry"]: hook["stages"] for hook in local_hooks()}
    assert stages == {"make lint-check": ["pre-commit"], "make test-unit": ["pre-push"]}
    (other,) = (repo for repo in load(HOOKS)["repos"] if repo["repo"] != "local")
    assert other["repo"] == "https://github.com/gitleaks/gitleaks"
    assert re.fullmatch("[0-9a-f]{40}", other["rev"])
    assert {hook["id"]: hook["stages"] for hook in other["hooks"] if "alias" not in hook} == {
        "gitleaks": ["pre-commit"]
    }
    for hook in local_hooks():
        assert hook["language"] == "system"
        assert hook["pass_filenames"] == "false"
        assert hook["always_run"] == "true"


def test_both_kinds_of_git_hook_are_installed() -> None:
    stages = [stage for hook in local_hooks() for stage in hook["stages"]]
    assert load(HOOKS)["default_install_hook_types"] == stages


@pytest.mark.parametrize(
    ("path", "command"),
    [(DEVCONTAINER, "make install-dev"), (CUDA_CONTAINER, "make install ACCELERATOR=cuda")],
)
def test_a_dev_container_installs_what_is_typed_next(path: Path, command: str) -> None:
    container = json.loads(path.read_text("utf-8"))
    assert container["postCreateCommand"] == command
    assert MAKE_STEP.fullmatch(command)[1] in HELP  # type: ignore[index]
    for commands in (".venv/bin", ".poetry/bin"):  # jupyter and black; poetry
        assert f"${{containerWorkspaceFolder}}/{commands}:" in container["remoteEnv"]["PATH"]
    assert 'options=(--with "dev,notebook")' in (ROOT / "scripts/setup/install.sh").read_text()


def test_the_dev_container_for_gpus_differs_only_in_what_gpus_need() -> None:
    plain, cuda = (json.loads(path.read_text("utf-8")) for path in (DEVCONTAINER, CUDA_CONTAINER))
    assert cuda.pop("hostRequirements") == {"gpu": True}
    assert cuda.pop("runArgs") == ["--gpus", "all"]
    for key in ("name", "postCreateCommand"):
        assert plain.pop(key) != cuda.pop(key)
    assert plain == cuda


def test_a_dev_container_has_a_container_engine_of_its_own() -> None:
    (feature,) = json.loads(DEVCONTAINER.read_text("utf-8"))["features"]
    assert re.fullmatch(r"ghcr\.io/devcontainers/features/docker-in-docker:\d+\.\d+\.\d+", feature)


def test_the_dev_container_has_the_python_of_ci() -> None:
    setup = load(ROOT / "infrastructure/cicd/github_actions/setup/action.yml")
    python = setup["inputs"]["python-version"]["default"]
    image = json.loads(DEVCONTAINER.read_text("utf-8"))["image"]
    assert re.fullmatch(rf".+/python:\d+-{re.escape(python)}-\w+", image)


def test_the_dev_container_forwards_the_ports_of_the_service_mlflow_and_jupyter() -> None:
    container = json.loads(DEVCONTAINER.read_text("utf-8"))
    assert container["forwardPorts"] == [3000, 5000, 8888]
    fields = MonitorSettings.model_fields.items()
    others = [field.default for name, field in fields if name.endswith("_port")]
    expected = {*container["forwardPorts"], *PORTS.values(), *others}
    assert set(container["portsAttributes"]) == {str(port) for port in expected}
    assert all(port["label"] for port in container["portsAttributes"].values())


@pytest.mark.nightly
@pytest.mark.parametrize("path", [DEVCONTAINER, CUDA_CONTAINER])
def test_the_dev_container_is_read_by_its_command_line_tool(path: Path) -> None:
    if not shutil.which("npx"):
        pytest.skip("npx is not installed")
    tool = ("npx", "--yes", "@devcontainers/cli@0.89.0", "read-configuration")
    arguments = ("--workspace-folder", str(ROOT), "--config", str(path), "--docker-path", "true")
    done = subprocess.run([*tool, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["configuration"]
    assert read["postCreateCommand"] == json.loads(path.read_text("utf-8"))["postCreateCommand"]
    assert read["remoteEnv"]["PATH"].startswith(f"/workspaces/{ROOT.name}/.venv/bin:")


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
