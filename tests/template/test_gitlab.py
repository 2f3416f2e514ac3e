"""GitLab runs the same jobs and make targets as GitHub."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from shared.paths import ROOT
from tests.template.makefiles import HELP
from tests.template.test_workflows import GRAPH, NIGHTLY, WATCH, WORK, load, targets_of

FILE = ROOT / ".gitlab-ci.yml"
TARGET = re.compile(r"\bmake ([a-z][a-z-]*)")

# What GitHub has and GitLab does itself: the comment is a link in the merge request, rules see what
# changed, and there is no state of the last run.
ONLY_GITHUB = {
    "code-quality": {"changes"},
    "model-training": {"state-load"},
    "build-service": {"gc"},
}
KEYWORDS = {"stages", "workflow", "variables", "default"}


@cache
def pipeline() -> dict[str, Any]:
    """The jobs of the file by name, with what they extend; templates too."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
    return {name: extended(document, name) for name in document.keys() - KEYWORDS}


def extended(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A job with the keys of what it extends."""
    job = document[name]
    if not isinstance(job, dict) or "extends" not in job:
        return job  # type: ignore[no-any-return]
    return {**extended(document, job["extends"]), **job}


def targets(job: dict[str, Any]) -> list[str]:
    """The make targets that a job runs, in their order."""
    lines = [*job["script"], *job.get("after_script", [])]
    return [target for line in lines for target in TARGET.findall(line)]


def needed(name: str) -> set[str]:
    """The jobs that have passed when this one starts."""
    needs = [need if isinstance(need, str) else need["job"] for need in pipeline()[name]["needs"]]
    return {above for need in needs for above in (need, *ancestors(need))}


def ancestors(name: str) -> set[str]:
    """The same, of a job that may need nothing."""
    return needed(name) if "needs" in pipeline()[name] else set()


def on_github(name: str) -> set[str]:
    """The jobs that have passed when this one starts on GitHub."""
    return {above for need in GRAPH[name] for above in (need, *on_github(need))}


CHAIN = [name for name in GRAPH if name != "verdict"]


def test_gitlab_has_the_jobs_of_github() -> None:
    jobs = {name for name in pipeline() if not name.startswith(".")}
    assert jobs == {*CHAIN, *load(NIGHTLY)["jobs"], *load(WATCH)["jobs"]}


@pytest.mark.parametrize("name", CHAIN)
def test_a_job_runs_the_targets_of_its_namesake_after_the_same_jobs(name: str) -> None:
    expected = [each for each in WORK[name] if each not in ONLY_GITHUB.get(name, set())]
    found = targets(pipeline()[name])
    assert sorted(found) == sorted(expected)
    reporting = ("verdict", "status", "state-save")  # after_script runs last
    assert [each for each in found if each not in reporting] == [
        each for each in expected if each not in reporting
    ]
    assert ancestors(name) == on_github(name)


@pytest.mark.parametrize("path", [NIGHTLY, WATCH])
def test_schedules_run_the_same_targets(path: Any) -> None:
    for name, job in load(path)["jobs"].items():
        assert targets(pipeline()[name]) == targets_of(job["steps"])
        (rule,) = pipeline()[name]["rules"]
        assert '$CI_PIPELINE_SOURCE == "schedule"' in rule["if"]


def test_every_target_exists_and_no_failure_is_swallowed() -> None:
    text = FILE.read_text("utf-8")
    assert set(TARGET.findall(re.sub("^ *#.*", "", text, flags=re.MULTILINE))) <= HELP.keys()
    assert not re.search(r"\|\|\s*(true|:)|allow_failure|set \+e", text)
    assert '|| { make rollback-release ENV="$CI_ENVIRONMENT_NAME"; exit 1; }' in text


def test_unit_tests_run_on_the_pythons_of_github() -> None:
    github = load(ROOT / ".github/workflows/ci-cd.yml")["jobs"]["unit-tests"]["strategy"]["matrix"]
    (gitlab,) = pipeline()["unit-tests"]["parallel"]["matrix"]
    assert gitlab["PYTHON_VERSION"] == github["python"]


def test_production_is_started_by_a_person_and_only_from_main() -> None:
    rules = pipeline()["deploy-production"]["rules"][1:]
    assert '$CI_COMMIT_BRANCH != "main"' in rules[0]["if"]
    assert rules[0]["when"] == "never"
    assert {rule["when"] for rule in rules[1:]} == {"manual"}


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_deployments_keep_their_workspace_and_do_not_overlap(environment: str) -> None:
    job = pipeline()[f"deploy-{environment}"]
    assert job["environment"] == job["resource_group"] == environment
    assert job["variables"]["GIT_CLEAN_FLAGS"] == "none"
    assert job["interruptible"] is False
    assert job["tags"] == [f"${environment.upper()}_RUNNER"]


def test_documents_train_nothing_and_every_other_file_does() -> None:
    patterns = pipeline()[".code"]["rules"][-1]["changes"]
    listed = ["git", "ls-files", "--", ".", ":!*.md", ":!docs", ":!LICENSE"]
    code = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert [name for name in code.splitlines() if not matches(name, patterns)] == []
    assert not matches("README.md", patterns)
    assert not matches("docs/data.md", patterns)


def matches(name: str, patterns: list[str]) -> bool:
    """Whether one of GitLab's patterns matches the name of a file."""
    return any(re.fullmatch(expression(pattern), name) for pattern in patterns)


def expression(pattern: str) -> str:
    """A pattern as a regular expression: ** crosses folders, * does not, {a,b} are alternatives."""
    text = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return text.replace(r"\{", "(?:").replace(r"\}", ")").replace(",", "|")
