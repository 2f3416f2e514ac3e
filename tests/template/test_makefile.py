"""Make is the engine: its targets, its receipts, and the one target that CI calls.

The steps run in a copy of the clone, whose Python logs its arguments and writes receipts.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.paths import ROOT
from shared.settings import MonitorSettings, ProcessSettings, ServingSettings, Settings
from tests.served import add_petals
from tests.template.makefiles import HELP, MAKEFILES, TEXT

# Targets of the tutorial.
TUTORIAL = [
    *("help", "install", "install-dev", "checkgpu", "train", "validate", "bento-build"),
    *("containerize", "run", "deploy", "format", "lint", "refactor", "test", "all", "clean"),
]

CONFIG = "application/training/configs/petals_config.json"
STEPS = ["train", "validate", "bento-build", "containerize"]

SERVICE = "application.inference.services.model_service:ModelService"
PYTHON = f"""#!/usr/bin/env bash
# Logs its arguments, and writes the receipt; fails at the step that is named in the file `fail`.
[ "${{1-}}" != -c ] || exec {sys.executable} "$@"
export BENTOML_HOME=$PWD/.bentoml MLFLOW_TRACKING_URI=sqlite:///$PWD/mlflow.db
[[ "${{3-}}" != state-* ]] || exec {sys.executable} "$@"
echo "$*" >>calls.log
[ ! -e fail ] || [[ "$*" != *"/$(cat fail).json"* ]] || exit 1
while [ $# -gt 0 ]; do
    if [ "$1" = --receipt ]; then
        mkdir -p "${{2%/*}}"
        receipt='{{"model_tag": "petals:1", "service": "{SERVICE}"}}'
        [ "${{2##*/}}" != validate.json ] || echo "$receipt" >"${{2%/*}}/champion.json"
        echo "$receipt" >"$2"
    fi
    shift
done
"""
INSTALL = """#!/usr/bin/env bash
echo "install $1${ACCELERATOR:+ for $ACCELERATOR}" >>calls.log
touch .venv/.core
[ "$1" = core ] || touch .venv/.dev
[ "$1" != all ] || touch .venv/.all
"""


def environment() -> dict[str, str]:
    """An environment without settings of an outer make or of the user."""
    return {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}


@dataclass(frozen=True)
class Clone:
    """A copy of the repository, in which make runs."""

    folder: Path

    def make(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run make with these arguments, and with these variables in its environment."""
        return subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env={**environment(), **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def ran(self, *arguments: str) -> list[str]:
        """Run make, and return the steps that it ran, in order."""
        self._calls.unlink(missing_ok=True)
        done = self.make(*arguments)
        assert done.returncode == 0, done.stderr
        return self.steps()

    def steps(self) -> list[str]:
        """Steps since the last call of `ran`."""
        return [Path(call.split(" --receipt ")[1]).stem for call in self.calls()]

    def calls(self) -> list[str]:
        """Calls of Python since the last call of `ran`."""
        return self._calls.read_text("utf-8").splitlines() if self._calls.exists() else []

    def receipt(self, step: str) -> Path:
        """Path of the receipt of a step."""
        return self.folder / "build/petals" / f"{step}.json"

    def reads(self, data: Path) -> None:
        """Record that training has read a data file, as its entry point does."""
        self.receipt("train").with_suffix(".files").write_text(f"{data}\n", encoding="utf-8")

    def change(self, file: str) -> None:
        """Give an existing file the newest time."""
        path = self.folder / file
        assert path.is_file()
        newest = max(path.stat().st_mtime_ns for path in self.folder.rglob("*"))
        os.utime(path, ns=(newest + 1_000_000, newest + 1_000_000))

    @property
    def _calls(self) -> Path:
        return self.folder / "calls.log"


@pytest.fixture(scope="session", name="copy_clone")
def _copy_clone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Clone]:
    """Copies the files that make reads to another folder, where nothing has been made yet."""
    pristine = tmp_path_factory.mktemp("pristine")
    skipped = shutil.ignore_patterns("__pycache__", "registry", ".*")
    for package in ("domain", "application", "shared", "scripts"):
        shutil.copytree(ROOT / package, pristine / package, ignore=skipped)
    shutil.copytree(
        ROOT / "infrastructure",
        pristine / "infrastructure",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (pristine / "make").mkdir()
    for path in (*MAKEFILES, ROOT / "poetry.lock", ROOT / "pyproject.toml"):
        shutil.copy2(path, pristine / path.relative_to(ROOT))
    (pristine / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci/run", pristine / ".ci")
    add_petals(pristine)
    shutil.copy2(ROOT / "tests/petals.py", pristine / "domain/models/tulip.py")
    (pristine / "tests").mkdir()
    (pristine / ".venv/bin").mkdir(parents=True)
    for name in ("python", "lint-imports"):
        (pristine / ".venv/bin" / name).write_text(PYTHON, encoding="utf-8")
        (pristine / ".venv/bin" / name).chmod(0o755)
    (pristine / "scripts/setup/install.sh").write_text(INSTALL, encoding="utf-8")
    for path in pristine.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    for name in (".core", ".dev"):
        (pristine / ".venv" / name).touch()

    def copy(folder: Path) -> Clone:
        shutil.copytree(pristine, folder)
        return Clone(folder)

    return copy


@pytest.fixture(name="clone")
def _clone(copy_clone: Callable[[Path], Clone], tmp_path: Path) -> Clone:
    """A clone in which nothing has been made."""
    return copy_clone(tmp_path / "clone")


@pytest.fixture(name="made")
def _made(clone: Clone) -> Clone:
    """A clone in which every step has been made."""
    assert clone.ran("containerize") == STEPS
    return clone


@pytest.mark.parametrize("target", ["test", "deploy", "registry", "soak"])
def test_a_file_named_like_a_target_does_not_block_it(clone: Clone, target: str) -> None:
    (clone.folder / target).touch()
    assert clone.make("-n", target).stdout


@pytest.mark.parametrize("target", sorted(HELP))
def test_every_target_has_help(target: str) -> None:
    assert len(HELP[target]) > 5


@pytest.mark.parametrize("target", TUTORIAL)
def test_the_targets_of_the_tutorial_exist(target: str) -> None:
    assert target in HELP


@pytest.mark.parametrize("arguments", [(), ("help",)])
def test_help_lists_every_target(clone: Clone, arguments: tuple[str, ...]) -> None:
    done = clone.make(*arguments)
    assert done.returncode == 0
    listed = re.findall(r"^  ([a-z-]+) +(.*)$", done.stdout, re.MULTILINE)
    assert dict(listed) == HELP
    assert clone.calls() == []


def test_make_runs_the_chain_step_by_step(clone: Clone) -> None:
    assert clone.ran("containerize") == STEPS


def test_a_dry_run_shows_the_training_command(clone: Clone) -> None:
    done = clone.make("-n", "train")
    assert f"infrastructure.cli train --model petals --config '{CONFIG}'" in done.stdout
    assert clone.calls() == []


@pytest.mark.parametrize("step", STEPS)
def test_with_fresh_receipts_nothing_is_run(made: Clone, step: str) -> None:
    assert made.ran(step) == []


def test_with_fresh_receipts_a_dry_run_shows_nothing_to_do(made: Clone) -> None:
    assert made.make("-q", "containerize").returncode == 0
    assert "infrastructure.cli train" not in made.make("-n", "train").stdout


@pytest.mark.parametrize(
    ("changed", "steps"),
    [
        (CONFIG, STEPS),
        ("domain/models/petals.py", STEPS),
        ("domain/models/tulip.py", []),
        ("domain/catalog.py", STEPS),
        ("domain/contract/spec.py", STEPS),
        ("domain/gates/performance.py", STEPS),
        ("domain/estimators/conformal.py", STEPS),
        ("application/training/train.py", STEPS),
        ("infrastructure/frameworks/scikit_learn.py", STEPS),
        ("infrastructure/inference/onnx_runtime.py", STEPS),
        ("poetry.lock", STEPS),
        ("application/validation/validate.py", STEPS[1:]),
        ("application/inference/predictor.py", STEPS[2:]),
        ("application/inference/services/bentofile.yaml", STEPS[2:]),
        ("infrastructure/storage/prediction_log.py", STEPS[2:]),
    ],
)
def test_a_changed_file_runs_its_step_and_those_after_it(
    made: Clone, changed: str, steps: list[str]
) -> None:
    made.change(changed)
    for name in (".core", ".dev"):
        made.change(f".venv/{name}")  # as if installed since
    assert made.ran("containerize") == steps
    assert made.ran("containerize") == []


@pytest.mark.parametrize(
    ("variable", "steps"),
    [
        ("THRESHOLD=0.9", STEPS[1:]),
        ("ENGINE=podman", STEPS[3:]),
        ("CONFIG=other.json", STEPS),
        ("WHISPER_MODEL=mine.pt", STEPS),
        ("PORT=3001", []),
        ("WORKERS=4", []),
    ],
)
def test_a_changed_variable_runs_its_step_and_those_after_it(
    made: Clone, variable: str, steps: list[str]
) -> None:
    shutil.copy2(made.folder / CONFIG, made.folder / "other.json")
    assert made.ran("containerize", variable) == steps
    assert made.ran("containerize", variable) == []
    assert made.ran("containerize") == steps  # back to the defaults


def test_a_threshold_reaches_validation(made: Clone) -> None:
    assert made.ran("validate", "THRESHOLD=0.9") == ["validate"]
    assert "--threshold 0.9" in made.calls()[0]
    made.ran("validate")
    assert "--threshold" not in made.calls()[0]


@pytest.mark.parametrize(
    ("line", "steps"),
    [
        ("MLFLOW_TRACKING_URI=postgresql://ml:pa$Word#1@db/log", STEPS),
        ('export WHISPER_MODEL = "it\'s mine.pt"', STEPS),
        ("BENTOML_HOME=/elsewhere", STEPS[1:]),
        ("SERVING_QUEUE=3", []),
        ("THRESHOLD=0.9", []),  # a choice, which is passed to make
    ],
)
def test_a_setting_in_the_env_file_runs_the_steps_that_use_it(
    made: Clone, line: str, steps: list[str]
) -> None:
    (made.folder / ".env").write_text(f"{line}\n", encoding="utf-8")
    assert made.ran("containerize") == steps
    assert made.ran("containerize") == []


@pytest.mark.parametrize("place", ["", "elsewhere/"])
def test_a_relative_setting_is_resolved_from_the_clone(made: Clone, place: str) -> None:
    made.ran("containerize", f"MLFLOW_TRACKING_URI=sqlite:///{place}mlflow.db")
    uri = f"sqlite:///{made.folder}/{place}mlflow.db"
    assert made.ran("containerize", f"MLFLOW_TRACKING_URI={uri}") == []


CHOICES = {
    "MODEL": "wine",
    "ENV": "production",
    "PORT": "3001",
    "VERSION": "3",
    "NAME": "somebody",
    "SCOPES": "metrics",
    "CONFIG": "other.json",
    "THRESHOLD": "0.1",
    "KEEP": "1",
}


@pytest.mark.parametrize("target", ["train", "validate", "deploy", "rollback", "gc", "help"])
def test_choices_in_the_shell_environment_are_ignored(clone: Clone, target: str) -> None:
    assert clone.make("-n", target, **CHOICES).stdout == clone.make("-n", target).stdout


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("MODLE=iris", "MODLE (did you mean MODEL?)"),
        ("model=iris", "model (did you mean MODEL?)"),
        ("EVN=production", "EVN (did you mean ENV?)"),
        ("ENVIRONMENT=production", "ENVIRONMENT (did you mean ENV?)"),
        ("DRY_RUNN=1", "DRY_RUNN (did you mean DRY_RUN?)"),
        ("SERVING_APIKEYS=none", "SERVING_APIKEYS (did you mean SERVING_API_KEYS?)"),
        ("PYTEST_ADDOPTS=-x", "PYTEST_ADDOPTS:"),
        ("it's=3", "it's:"),
    ],
)
def test_a_mistyped_variable_is_refused_with_a_hint_before_anything_runs(
    clone: Clone, typed: str, hint: str
) -> None:
    done = clone.make("train", typed, "PORT=3001")
    assert (done.returncode, done.stdout, clone.calls()) == (2, "", [])
    assert f"unknown variable {hint}" in done.stderr
    assert done.stderr.count("\n") == 1


def settings_in_capitals() -> set[str]:
    """The variables that any settings read."""
    names = set()
    for kind in (Settings, ProcessSettings, MonitorSettings, ServingSettings):
        prefix = kind.model_config.get("env_prefix", "")
        for name, field in kind.model_fields.items():
            names.add(str(field.validation_alias or f"{prefix}{name}").upper())
    return names


def test_every_variable_in_the_help_and_every_setting_may_be_given() -> None:
    in_help = set(re.findall(r"\b([A-Z_]{2,})=", " ".join(HELP.values())))
    in_calls = set(" ".join(re.findall(r"call (?:args|flag),([A-Z_ ]+)\)", TEXT)).split())
    installer = {"EXTRAS", "ACCELERATOR", "TORCH_INDEX"}
    assert {"SINCE", "REQUIRE_GPU"} <= in_help and {"LEAVE_OUT", "FORCE"} <= in_calls
    names = in_help | in_calls | installer | settings_in_capitals() | {"MODEL", "CONFIG", "PY"}
    done = Clone(ROOT).make("-n", "help", *(f"{name}=x" for name in sorted(names)))
    assert (done.returncode, done.stderr) == (0, "")


def test_names_of_fields_that_are_read_under_another_name_are_refused(clone: Clone) -> None:
    for name in ("QUEUE", "PACKAGES_DIR", "TRACKING_URI", "BENTO_HOME"):
        assert f"unknown variable {name}" in clone.make("deploy", f"{name}=x").stderr


def test_unknown_variables_of_the_environment_are_not_refused(clone: Clone) -> None:
    variables = {"MODLE": "iris", "PYTEST_ADDOPTS": "-x", "PIP_NO_INDEX": "1"}
    assert clone.make("-n", "train", **variables).returncode == 0


def test_a_key_is_created_for_the_client_passed_to_make(clone: Clone) -> None:
    clone.make("api-key", **CHOICES)
    clone.make("api-key", "NAME=grafana", **CHOICES)
    api_key = "-m infrastructure.cli api-key"
    assert [call.strip() for call in clone.calls()] == [api_key, f"{api_key} --name grafana"]


@pytest.mark.parametrize(
    "variable",
    [
        *(f"ENV={name}" for name in ("../../x", "a b", "-x", "$$(id)", "a;b", "")),
        *(f"MODEL={name}" for name in ("../petals", "it's")),
    ],
)
def test_a_value_that_is_invalid_in_a_path_is_refused_before_anything_runs(
    clone: Clone, variable: str
) -> None:
    done = clone.make("deploy", variable)
    assert (done.returncode, done.stdout, clone.calls()) == (2, "", [])
    assert variable.replace("$$", "$") in done.stderr
    assert "use letters, digits, . _ and -" in done.stderr
    assert done.stderr.count("\n") == 1


def test_variables_of_an_address_are_left_to_the_command(made: Clone) -> None:
    address = "postgresql://${PGUSER}:${PATH}@host/shop"
    shown = made.make("-n", "new-model", "NAME=x", f"DATA={address}", "QUERY=q.sql", "TARGET=y")
    words = shlex.split(shown.stdout.splitlines()[-1])
    assert words[-6:] == ["--data", address, "--query", "q.sql", "--target", "y"]


@pytest.mark.parametrize("value", ["3001", "99999", "x; id", "$$(id)", "it's", "`id`"])
def test_a_value_reaches_its_command_unchanged(made: Clone, value: str) -> None:
    last = made.make("-n", "deploy", f"PORT={value}").stdout.splitlines()[-1]
    assert shlex.split(last)[-2:] == ["--port", value.replace("$$", "$")]


@pytest.mark.parametrize("target", ["run", "deploy", "mlflow-ui"])
def test_nothing_listens_on_other_interfaces_by_default(target: str) -> None:
    (recipe,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", TEXT, re.MULTILINE)
    assert "0.0.0.0" not in recipe


def test_a_changed_data_file_makes_training_stale(made: Clone) -> None:
    data = made.folder / "flowers.csv"
    data.touch()
    os.utime(data, (1_700_000_000, 1_700_000_000))
    made.reads(data)
    assert made.make("-q", "containerize").returncode == 0
    made.change("flowers.csv")
    assert made.make("-q", "train").returncode == 1
    assert "infrastructure.cli train" in made.make("-n", "train").stdout
    assert made.ran("containerize") == STEPS
    assert made.ran("containerize") == []


@pytest.mark.parametrize("name", ["gone.csv", "its data; 100 % =|$HOME#.csv", " "])
def test_a_missing_data_file_changes_nothing(made: Clone, name: str) -> None:
    made.reads(made.folder / name)
    assert made.ran("containerize") == []
    assert made.make("status").returncode == 0


def test_a_data_file_may_have_any_name(made: Clone) -> None:
    name = "it's data; 100 % =|$HOME#.csv"
    (made.folder / name).touch()
    os.utime(made.folder / name, (1_700_000_000, 1_700_000_000))
    made.reads(made.folder / name)
    assert made.ran("containerize") == []
    made.change(name)
    assert made.ran("containerize") == STEPS


def test_a_changed_configuration_alone_is_compared_before_a_training(made: Clone) -> None:
    made.change(CONFIG)
    assert made.ran("train") == ["train"]
    assert "--if-changed" in made.calls()[-1]
    made.change("domain/contract/spec.py")
    assert made.ran("train") == ["train"]
    assert "--if-changed" not in made.calls()[-1]


def test_a_data_file_of_one_model_does_not_affect_another(made: Clone) -> None:
    shutil.copy2(made.folder / CONFIG, made.folder / CONFIG.replace("petals", "wine"))
    assert made.ran("train", "MODEL=wine") == ["train"]
    made.reads(made.folder / CONFIG)
    made.change(CONFIG)
    assert made.ran("train", "MODEL=wine") == []


def test_each_step_starts_from_the_receipt_of_the_previous_one(made: Clone) -> None:
    assert made.ran("-B", "containerize") == STEPS
    _, validate, _, containerize = made.calls()
    assert f"--train-receipt {made.receipt('train')}" in validate
    assert f"--bento {made.receipt('bento-build')}" in containerize


@pytest.mark.parametrize("index", range(len(STEPS)))
def test_a_failed_step_leaves_no_receipt_and_stops_the_chain(made: Clone, index: int) -> None:
    (made.folder / "fail").write_text(STEPS[index], encoding="utf-8")
    assert made.make("-B", "containerize").returncode != 0
    assert [step for step in STEPS if made.receipt(step).exists()] != STEPS
    assert not made.receipt(STEPS[index]).exists()
    (made.folder / "fail").unlink()
    assert made.ran("containerize") == STEPS[index:]


def test_two_models_and_two_places_do_not_share_receipts(made: Clone) -> None:
    shutil.copy2(made.folder / CONFIG, made.folder / CONFIG.replace("petals", "wine"))
    assert made.ran("validate", "MODEL=wine") == STEPS[:2]
    assert "--model wine" in made.calls()[0]
    elsewhere = made.folder / "elsewhere"
    assert made.ran("validate", f"RECEIPTS_DIR={elsewhere}") == STEPS[:2]
    assert (elsewhere / "petals/validate.json").exists()
    assert made.ran("containerize") == []


def test_a_missing_configuration_is_reported_by_file(clone: Clone) -> None:
    done = clone.make("train", "MODEL=tulip")
    assert done.returncode != 0
    assert "configs/tulip_config.json" in done.stderr
    assert clone.calls() == []


def test_run_serves_the_champion_on_the_given_port(made: Clone) -> None:
    assert made.make("run", "PORT=3001").returncode == 0
    champion = made.receipt("champion")
    served = f"-m infrastructure.cli run --champion {champion}"
    assert made.calls()[-1] == f"{served} --port 3001"
    assert made.make("run").returncode == 0
    assert made.calls()[-1] == served


@pytest.mark.parametrize("target", ["deploy", "rollback-release", "smoke", "demo", "run"])
def test_a_port_is_passed_only_if_it_is_set(clone: Clone, target: str) -> None:
    assert "--port" not in clone.make("-n", target, PORT="3001").stdout
    assert "--port '3002'" in clone.make("-n", target, "PORT=3002").stdout


NEW_MODEL = {"NAME": "churn", "DATA": "a table.csv", "TARGET": "customer's choice"}


def test_arguments_of_new_model_are_passed_unchanged(clone: Clone) -> None:
    arguments = [f"{name}={value}" for name, value in NEW_MODEL.items()]
    output = clone.make(
        "-n",
        "new-model",
        *arguments,
        "TASK=regression",
        "LEAVE_OUT=id, $$price",
        "READ_AS_NUMBERS=share",
        "ESTIMATOR=ridge",
        "FORCE=1",
    ).stdout
    assert shlex.split(output)[1:] == [
        *("-m", "infrastructure.cli", "new-model", "--name", "churn", "--data", "a table.csv"),
        *("--target", "customer's choice", "--task", "regression", "--leave-out", "id, $price"),
        *("--read-as-numbers", "share", "--estimator", "ridge", "--force"),
    ]


def command_of(clone: Clone, *arguments: str) -> list[str]:
    """Arguments with which make would call the command-line interface."""
    last = clone.make("-n", *arguments).stdout.splitlines()[-1]
    words = shlex.split(last)
    assert words[1:3] == ["-m", "infrastructure.cli"]
    return words[3:]


@pytest.mark.parametrize("target", ["promote", "rollback"])
def test_a_version_reaches_the_registry_unchanged(clone: Clone, target: str) -> None:
    *arguments, receipt = command_of(clone, target)
    assert arguments == [target, "--model", "petals", "--receipt"]
    assert receipt.endswith("build/petals/champion.json")
    arguments = command_of(clone, target, "MODEL=wine", "VERSION=it's 3")[:-2]
    assert arguments == [target, "--model", "wine", "--version", "it's 3"]


@pytest.mark.parametrize("target", ["promote", "rollback"])
def test_a_new_champion_makes_only_bento_and_image_stale(made: Clone, target: str) -> None:
    assert made.make(target).returncode == 0
    assert made.ran("containerize") == STEPS[2:]


@pytest.mark.parametrize("target", ["promote", "rollback"])
def test_a_chosen_champion_is_built_without_training_or_validating_again(
    made: Clone, target: str
) -> None:
    made.change(CONFIG)  # fixed since, say
    assert made.make(target).returncode == 0
    made.change("domain/models/petals.py")
    assert made.ran("bento-build", "THRESHOLD=0.9") == ["bento-build"]
    assert made.ran("bento-build") == []
    assert made.ran("validate") == STEPS[:2]  # a new candidate, by explicit request
    assert made.ran("containerize") == STEPS[2:]


def test_a_chosen_champion_is_built_even_if_nothing_was_trained(clone: Clone) -> None:
    assert clone.make("rollback").returncode == 0
    assert clone.ran("bento-build") == ["bento-build"]
    assert clone.ran("validate") == STEPS[:2]


def test_a_champion_can_be_chosen_and_built_in_one_call(clone: Clone) -> None:
    assert clone.ran("rollback", "bento-build") == ["champion", "bento-build"]


def test_goals_run_in_the_given_order_with_any_number_of_jobs(
    made: Clone,
) -> None:
    (made.folder / "calls.log").unlink()
    assert made.make("rollback", "deploy", MAKEFLAGS="-j4").returncode == 0
    commands = [call.split()[2] for call in made.calls()]
    assert commands == ["rollback", "bento-build", "deploy"]


def test_a_refusal_after_a_choice_leaves_no_validation_receipt(made: Clone) -> None:
    made.change(CONFIG)
    (made.folder / "fail").write_text("validate", encoding="utf-8")
    assert made.make("validate").returncode != 0
    (made.folder / "fail").unlink()
    assert made.make("rollback").returncode == 0
    assert "validate" in made.ran("validate")


@pytest.mark.parametrize("target", ["registry", "which-model"])
def test_every_model_is_shown_by_default(clone: Clone, target: str) -> None:
    assert command_of(clone, target) == [target]
    assert command_of(clone, target, "MODEL=petals") == [target, "--model", "petals"]


def test_a_time_reaches_the_ledger_unchanged(clone: Clone) -> None:
    command = command_of(clone, "which-model", "AT=2026-11-20 14:00")
    assert command == ["which-model", "--at", "2026-11-20 14:00"]


def test_the_number_to_keep_reaches_the_garbage_collection(clone: Clone) -> None:
    assert command_of(clone, "gc") == ["gc"]
    assert command_of(clone, "gc", "KEEP=3", "DRY_RUN=1") == ["gc", "--keep", "3", "--dry-run"]


def test_forcing_a_step_does_not_install_again(made: Clone) -> None:
    done = made.make("-B", "-n", "train")
    assert "infrastructure.cli train" in done.stdout
    assert "install" not in done.stdout
    assert made.ran("-B", "train") == ["train"]


@pytest.mark.parametrize(
    ("target", "installed"),
    [("train", "install core"), ("lint", "install dev"), ("models-report", "install all")],
)
def test_a_missing_environment_is_installed_before_a_target_runs(
    clone: Clone, target: str, installed: str
) -> None:
    for name in (".core", ".dev"):
        (clone.folder / ".venv" / name).unlink()
    assert clone.make(target).returncode == 0
    assert clone.calls()[0] == installed
    assert len(clone.calls()) == 2


def test_a_changed_lock_is_installed_before_a_target_runs(made: Clone) -> None:
    made.change("poetry.lock")
    (made.folder / "calls.log").unlink()
    assert made.make("checkgpu").returncode == 0
    assert made.calls() == ["install core", "-m infrastructure.cli checkgpu"]


def test_an_accelerator_is_passed_to_the_installation(clone: Clone) -> None:
    clone.make("install", "ACCELERATOR=cpu")
    clone.make("install", ACCELERATOR="cuda")
    assert clone.calls() == ["install all for cpu", "install all for cuda"]


def test_clean_removes_only_what_can_be_rebuilt(made: Clone) -> None:
    kept = [
        *(
            "mlflow.db",
            "ledger.jsonl",
            "mlartifacts/0/model",
            ".bentoml/models/a",
            ".releases/staging/current.json",
        ),
        *("application/registry/model_registry/petals/1/model.onnx", ".env", "domain/errors.py"),
        *(".venv/.core", "state.tar.gz"),
    ]
    removed = ["dist/a.whl", "htmlcov/index.html", "coverage.xml", "domain/__pycache__/a.pyc"]
    for name in [*kept, *removed]:
        (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (made.folder / name).touch()
    assert made.make("clean").returncode == 0
    assert [name for name in kept if not (made.folder / name).exists()] == []
    assert [name for name in removed if (made.folder / name).exists()] == []
    assert not (made.folder / "build").exists()


def test_state_loaded_in_another_clone_needs_no_step_again(
    made: Clone, copy_clone: Callable[[Path], Clone], tmp_path: Path
) -> None:
    assert made.make("state-save").returncode == 0
    other = copy_clone(tmp_path / "other")
    shutil.copy2(made.folder / "state.tar.gz", other.folder)
    other.change(CONFIG)  # as in a fresh checkout, where every file is new
    done = other.make("state-load")
    assert done.returncode == 0, done.stderr
    assert other.ran("containerize") == []


def test_merge_is_passed_to_state_load(clone: Clone) -> None:
    assert "--merge" in clone.make("-n", "state-load", "MERGE=1").stdout
    assert "--merge" not in clone.make("-n", "state-load").stdout


def test_ci_is_one_target(clone: Clone) -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    code = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert [line for line in code if not line.startswith(("set ", "unset ", "cd "))] == ["make ci"]
    done = subprocess.run(
        [clone.folder / ".ci/run"], cwd="/", env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0
    assert clone.calls()[0] == "install all"
    called = " ".join(clone.calls())
    for tool in ("pylint", "black --check", "mypy", "bandit", "pytest"):
        assert f"-m {tool}" in called


@pytest.mark.parametrize("missing", [{".all"}, {".core", ".dev", ".all"}])
def test_ci_installs_everything_once_and_only_if_something_is_missing(
    clone: Clone, missing: set[str]
) -> None:
    for name in {".core", ".dev"} & missing:
        (clone.folder / ".venv" / name).unlink()
    assert clone.make("ci").returncode == 0
    first = clone.calls()
    assert [call for call in first if call.startswith("install")] == ["install all"]
    assert clone.make("ci").returncode == 0
    assert clone.calls() == [*first, *first[1:]]
    clone.change("poetry.lock")
    assert clone.make("ci").returncode == 0
    assert clone.calls()[2 * len(first) - 1] == "install all"


def test_a_failed_installation_fails_ci(clone: Clone) -> None:
    installer = clone.folder / "scripts/setup/install.sh"
    installer.write_text("#!/bin/false\nexit 1\n", encoding="utf-8")
    assert clone.make("ci").returncode != 0
    assert clone.calls() == []


def test_a_failed_check_fails_ci(clone: Clone) -> None:
    python = clone.folder / ".venv/bin/python"
    for tool in ("pylint", "black", "mypy", "bandit", "pytest"):
        python.write_text(f'#!/usr/bin/env bash\n[ "$2" != {tool} ]\n', encoding="utf-8")
        assert clone.make("ci").returncode != 0, tool
    python.write_text("#!/usr/bin/env bash\n", encoding="utf-8")
    (clone.folder / ".venv/bin/lint-imports").write_text("#!/bin/false\n", encoding="utf-8")
    assert clone.make("ci").returncode != 0


def test_tests_measure_the_coverage_of_the_four_packages(clone: Clone) -> None:
    clone.make("test")
    (call,) = clone.calls()
    for package in ("domain", "application", "infrastructure", "shared"):
        assert f"--cov={package}" in call


@pytest.mark.parametrize("installed", [{".core", ".dev"}, set()])
def test_the_steps_of_all_run_in_order(clone: Clone, installed: set[str]) -> None:
    for name in {".core", ".dev"} - installed:
        (clone.folder / ".venv" / name).unlink()
    assert clone.make("all").returncode == 0
    tools = [
        re.sub(r"^-m (?:infrastructure.cli )?([\w.]+).*", r"\1", call) for call in clone.calls()
    ]
    assert tools == ["install all", "black", "pylint", "pytest", "checkgpu"]
