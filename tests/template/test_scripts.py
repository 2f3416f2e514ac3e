"""The shell scripts are valid, documented and harmless."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from shared.paths import ROOT

SCRIPTS = [*sorted((ROOT / "scripts").rglob("*.sh")), ROOT / ".ci/run"]
ALL_SCRIPTS = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in SCRIPTS]
HELPFUL = [path.relative_to(ROOT / "scripts").as_posix() for path in SCRIPTS[:-1]]
FIND_PYTHON = ROOT / "scripts/setup/find_python.sh"

TOO_OLD = "#!/bin/sh\nexit 1\n"  # fails at every check
WITHOUT_VENV = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\n'
GOOD = "#!/bin/sh\nexit 0\n"


def code_of(path: Path) -> str:
    """The lines of a script without comments."""
    lines = path.read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def find_python(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run find_python.sh with only these variables in its environment."""
    return subprocess.run(
        ["/bin/bash", str(FIND_PYTHON)],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def write_program(path: Path, text: str) -> Path:
    """Write an executable file."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_scripts_of_the_tutorial_exist() -> None:
    assert ROOT / "scripts/quickstart.sh" in SCRIPTS
    assert ROOT / "scripts/setup/setup_poetry.sh" in SCRIPTS


def test_poetry_and_uv_are_installed_in_locked_versions_with_the_hashes_of_their_files() -> None:
    script = (ROOT / "scripts/setup/setup_poetry.sh").read_text("utf-8")
    named = set(re.findall(r"\b(?:uv|poetry[a-z-]*)==[0-9.]+", script))
    assert len(named) == 4
    text = (ROOT / "scripts/setup/poetry.txt").read_text("utf-8")
    locked = [entry for entry in re.split(r"(?m)^(?=\S)", text) if entry]
    assert named <= {entry.split()[0] for entry in locked}
    assert all("--hash=sha256:" in entry for entry in locked)
    installs = [line for line in script.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line for line in installs)


@pytest.mark.parametrize("path", ALL_SCRIPTS)
def test_a_script_is_valid_bash(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", ALL_SCRIPTS)
def test_a_script_is_executable_and_stops_at_the_first_failure(path: Path) -> None:
    assert os.access(path, os.X_OK)
    assert path.read_text("utf-8").startswith("#!/usr/bin/env bash\n# ")
    assert code_of(path).lstrip().startswith("set -euo pipefail\n")


@pytest.mark.parametrize("path", ALL_SCRIPTS)
def test_a_script_needs_no_privileges_and_runs_nothing_from_the_network(path: Path) -> None:
    code = code_of(path)
    assert not re.search(r"\bsudo\b|\bsu -", code)
    assert not re.search(r"\b(curl|wget)\b[^\n]*\|", code)
    assert not re.search(r"\b(bash|sh)\s+<\(|\beval\b", code)
    assert not re.search(r"\|\|\s*true\b", code)


@pytest.mark.parametrize("name", HELPFUL)
def test_help_only_explains_the_script(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "clone/scripts"
    shutil.copytree(ROOT / "scripts", folder)
    before = sorted(tmp_path.rglob("*"))
    tools = tmp_path / "tools"  # no make, no Python, no network
    tools.mkdir()
    for tool in ("bash", "sed", "dirname", "awk", "env", "cat"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    done = subprocess.run(
        [tools / "bash", folder / name, "--help"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first = (folder / name).read_text("utf-8").splitlines()[1].removeprefix("# ")
    assert done.stdout.splitlines()[0] == first
    assert not re.search(r"^#|^set -|^cd ", done.stdout, re.MULTILINE)
    shutil.rmtree(tools)
    assert sorted(tmp_path.rglob("*")) == before


def test_quickstart_refuses_an_unknown_option() -> None:
    done = subprocess.run(
        ["bash", ROOT / "scripts/quickstart.sh", "--no-such-option"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert "unknown option --no-such-option" in done.stderr
    assert done.stdout == ""


def test_the_python_of_these_tests_is_accepted() -> None:
    done = find_python(PYTHON=sys.executable)
    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)


@pytest.mark.parametrize("named", ["/bin/false", "/no/such/python"])
def test_a_python_that_is_too_old_or_missing_is_refused_with_a_solution(named: str) -> None:
    done = find_python(PYTHON=named)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no Python 3.11, 3.12 or 3.13 found")
    assert f"(tried: {named})" in done.stderr
    assert "PYTHON=/path/to/python make" in done.stderr


def test_a_python_without_venv_is_refused_with_what_to_install(
    tmp_path: Path,
) -> None:
    python = write_program(tmp_path / "python3.11", WITHOUT_VENV)
    done = find_python(PYTHON=str(python))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{python} cannot create virtual environments" in done.stderr
    assert "python3-venv" in done.stderr


def test_the_first_python_on_the_path_that_is_new_enough_is_used(tmp_path: Path) -> None:
    write_program(tmp_path / "python3", TOO_OLD)
    write_program(tmp_path / "python3.13", TOO_OLD)
    expected = write_program(tmp_path / "python3.12", GOOD)
    write_program(tmp_path / "python3.11", GOOD)
    done = find_python(PATH=str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, str(expected))


def test_a_path_without_a_suitable_python_is_an_error_that_lists_the_candidates(
    tmp_path: Path,
) -> None:
    write_program(tmp_path / "python3", TOO_OLD)
    done = find_python(PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "(tried: python3 python3.13 python3.12 python3.11)" in done.stderr


@pytest.mark.parametrize(
    ("running", "is_good"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)]
)
def test_the_range_of_versions_matches_the_project(running: tuple[int, int], is_good: bool) -> None:
    (question,) = re.findall(r"sys\.exit\(not (.+?)\)' ", FIND_PYTHON.read_text("utf-8"))
    low, high = re.fullmatch(  # type: ignore[union-attr]
        r"\((\d+, \d+)\) <= sys\.version_info < \((\d+, \d+)\)", question
    ).groups()
    bounds = [tuple(map(int, text.split(", "))) for text in (low, high)]
    assert (bounds[0] <= running < bounds[1]) is is_good
    declared = f'requires-python = ">={low.replace(", ", ".")},<{high.replace(", ", ".")}"'
    assert declared in (ROOT / "pyproject.toml").read_text("utf-8")


def test_a_python_chosen_by_the_user_reaches_the_scripts_through_make(tmp_path: Path) -> None:
    named = tmp_path / "python-of-mine"
    done = subprocess.run(
        ["make", "-pn", "help"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHON": str(named)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert f"\nPYTHON = {named}\n" in done.stdout


QUICKSTART = ["installed", "train", "validate", "bento-build", "deploy", "demo", "where"]


def quickstart(folder: Path, *arguments: str, fails_at: str = "") -> tuple[int, list[str], str]:
    """Exit code, targets and errors of quickstart.sh with a make that logs its arguments."""
    calls = folder / "calls"
    calls.touch()
    write_program(
        folder / "make",
        f'#!/bin/sh\nfor last; do :; done\necho "$last" >>{calls}\n[ "$last" != "{fails_at}" ]\n',
    )
    done = subprocess.run(
        ["/bin/bash", ROOT / "scripts/quickstart.sh", *arguments],
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode, calls.read_text("utf-8").split(), done.stderr


def test_quickstart_runs_from_the_installation_to_the_demo(tmp_path: Path) -> None:
    assert quickstart(tmp_path) == (0, QUICKSTART, "")


def test_quickstart_numbers_and_times_its_steps(tmp_path: Path) -> None:
    write_program(tmp_path / "make", "#!/bin/sh\n")
    done = subprocess.run(
        ["/bin/bash", ROOT / "scripts/quickstart.sh"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert re.findall(r"^== (.+)$", done.stdout, re.MULTILINE) == [
        f"{number}/6 {step}" for number, step in enumerate(["install", *QUICKSTART[1:-1]], 1)
    ]
    assert len(re.findall(r"^   \d+ s, \d+ s since the start$", done.stdout, re.MULTILINE)) == 6


@pytest.mark.parametrize("step", QUICKSTART[:-1])
def test_quickstart_stops_at_the_first_failure_and_names_it(tmp_path: Path, step: str) -> None:
    code, targets, errors = quickstart(tmp_path, fails_at=step)
    assert code != 0
    assert targets == QUICKSTART[: QUICKSTART.index(step) + 1]
    assert f"quickstart stopped at: {step}" in errors


def test_quickstart_can_stop_after_installing(tmp_path: Path) -> None:
    code, targets, _ = quickstart(tmp_path, "--install-only")
    assert (code, targets) == (0, ["installed"])


# What Poetry exports, as far as the accelerator matters: PyTorch with CUDA 13, TensorFlow with
# CUDA 12, and a library of NVIDIA in two versions, which Poetry locks so.
LOCKED = [
    *("cuda-toolkit==13.0.3.0", "numpy==2.3.5", "nvidia-cublas==13.1.1.3"),
    *("nvidia-cublas==13.10.0.20", "nvidia-cudnn-cu12==9.28.0.42", "nvidia-cudnn-cu13==9.20.0.48"),
    *("nvidia-ml-py==13.615.71", "nvidia-nccl-cu12==2.32.3", "nvidia-nvtx==13.0.85"),
    *("tensorflow==2.21.0", "torch==2.13.0", "triton==3.7.1"),
]
WITHOUT_GPU = ["numpy==2.3.5", "nvidia-ml-py==13.615.71", "tensorflow==2.21.0"]
WITH_GPU = [
    *("cuda-toolkit==13.0.3.0", "numpy==2.3.5", "nvidia-cublas==13.1.1.3"),
    *("nvidia-cudnn-cu13==9.20.0.48", "nvidia-ml-py==13.615.71", "nvidia-nvtx==13.0.85"),
    *("tensorflow==2.21.0", "torch==2.13.0", "triton==3.7.1"),
]
CPU_BUILD = "pip install torch==2.13.0+cpu from https://download.pytorch.org/whl/cpu"

POETRY = """#!/bin/sh
case "$*" in
    --version) echo "Poetry (version 2.5.1)" ;;
    "export --help") ;;
    *absent*) echo "Extra [absent] is not specified." >&2; exit 1 ;;
    export*) echo "poetry $*" >>calls; cat locked ;;
esac
"""
UV = """#!/bin/bash
[ "$1" != venv ] || { echo "uv $*" | sed 's/ --python [^ ]*//' >>calls; exit 1; }
shift
while [ $# -gt 0 ]; do
    case $1 in
        install | uninstall) what=$1 ;;
        --python) shift ;;
        -r) shift; names=$(sed -nE 's/^([^ ]+==[^ ]+).*/\\1/p' "$1") ;;
        -*) ;;
        *) names="$names $1" ;;
    esac
    shift
done
[ "$what" != install ] || [ ! -e fail ] || exit 1
echo $what $names >>calls
"""
VENV_PYTHON = """#!/bin/bash
case "$*" in
    *" list "*) [ ! -e present ] || cat present ;;
    *" install "*) echo "pip install" $(grep -oE 'torch==[^ ]+|https:.*' <<<"$*" | sed 's/^https/from &/') >>calls ;;
esac
"""
ONE_GPU = "#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\n"
# the second line is written after a reader of the first one has exited
TWO_GPUS = "#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'; sleep 0.2; echo 'GPU 1: another'\n"
DRIVER_WITHOUT_GPU = "#!/bin/sh\necho 'No devices were found'\n"


@dataclass(frozen=True)
class Installer:
    """install.sh in a clone where Poetry, uv, pip and nvidia-smi only log their arguments.

    Attributes:
        folder: the clone.
        tools: first folder on PATH.
    """

    folder: Path
    tools: Path

    def __call__(self, what: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run install.sh with only these variables in its environment."""
        (self.folder / "calls").unlink(missing_ok=True)
        return subprocess.run(
            ["/bin/bash", "scripts/setup/install.sh", what],
            cwd=self.folder,
            env={"PATH": f"{self.tools}:/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def installed(self, what: str, **environment: str) -> list[str]:
        """Installed and removed packages, by call."""
        done = self(what, **environment)
        assert done.returncode == 0, done.stderr
        return self.calls()[1:]

    def calls(self) -> list[str]:
        """Calls of the tools; the first is the export of Poetry."""
        calls = self.folder / "calls"
        return calls.read_text("utf-8").splitlines() if calls.exists() else []

    def sets(self) -> set[str]:
        """The sets that are marked as installed."""
        names = ("core", "dev", "all")
        return {name for name in names if (self.folder / f".venv/.{name}").exists()}

    def has(self, *packages: str) -> None:
        """Pretend that these packages are in .venv."""
        (self.folder / "present").write_text("\n".join(packages) + "\n", encoding="utf-8")


@pytest.fixture(name="installer")
def _installer(tmp_path: Path) -> Installer:
    """A Linux machine without a GPU, where nothing is installed yet."""
    folder, tools = tmp_path / "clone", tmp_path / "tools"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    locked = "".join(
        f'{pin} ; python_version >= "3.11" \\\n    --hash=sha256:0\n' for pin in LOCKED
    )
    (folder / "locked").write_text(locked, encoding="utf-8")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/pyvenv.cfg").write_text("relocatable = true\n", encoding="utf-8")
    (folder / ".venv/lib/python3.11/site-packages").mkdir(parents=True)
    tools.mkdir()
    programs: Mapping[Path, str] = {
        tools / "poetry": POETRY,
        tools / "uv": UV,
        tools / "uname": "#!/bin/sh\necho Linux\n",
        tools / "nvidia-smi": "#!/bin/sh\nexit 127\n",
        folder / ".venv/bin/python": VENV_PYTHON,
    }
    for path, text in programs.items():
        write_program(path, text)
    return Installer(folder, tools)


@pytest.mark.parametrize(
    ("what", "exported", "sets"),
    [
        ("core", "--only main", {"core"}),
        ("dev", "--with dev,notebook", {"core", "dev"}),
        ("all", "--with dev,notebook -E all", {"core", "dev", "all"}),
    ],
)
def test_the_requested_set_is_installed_and_marked_as_installed(
    installer: Installer, what: str, exported: str, sets: set[str]
) -> None:
    installer.installed(what)
    assert installer.calls()[0] == f"poetry export {exported}"
    assert installer.sets() == sets


def test_the_environment_refers_to_its_clone_by_a_relative_path(installer: Installer) -> None:
    installer.installed("core")
    site = installer.folder / ".venv/lib/python3.11/site-packages"
    assert (site / "mlops_template.pth").read_text("utf-8").startswith("../../../..\n")
    assert os.access(installer.folder / ".venv/bin/mlops", os.X_OK)
    assert (site / "../../../..").resolve() == installer.folder


@pytest.mark.parametrize("damaged", ["bin/python", "pyvenv.cfg"])
def test_a_broken_or_moved_environment_is_recreated(installer: Installer, damaged: str) -> None:
    (installer.folder / ".venv" / damaged).unlink()
    assert installer("core", PYTHON=sys.executable).returncode != 0  # this uv makes none
    assert installer.calls() == ["uv venv --native-tls --quiet --relocatable --seed .venv"]
    assert installer.sets() == set()


@pytest.mark.parametrize("name", ["CDPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"])
def test_redirecting_settings_of_the_caller_do_not_reach_the_installation(
    installer: Installer, tmp_path: Path, name: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "scripts/setup").mkdir(parents=True)
    python = installer.folder / ".venv/bin/python"
    write_program(python, f'#!/bin/bash\n[ -z "${{{name}-}}" ] || exit 1\n')
    done = installer("core", **{name: str(elsewhere)})
    assert (done.returncode, installer.sets()) == (0, {"core"}), done.stderr


def test_chosen_extras_are_installed_but_not_marked_as_everything(installer: Installer) -> None:
    installer.installed("all", EXTRAS="torch whisper")
    assert installer.calls()[0] == "poetry export --with dev,notebook -E torch -E whisper"
    assert installer.sets() == {"core", "dev"}


def test_a_failed_installation_is_not_marked_as_installed(installer: Installer) -> None:
    (installer.folder / "fail").touch()
    assert installer("all").returncode != 0
    assert installer.sets() == set()


@pytest.mark.parametrize("accelerator", [{}, {"ACCELERATOR": "cpu"}, {"ACCELERATOR": ""}])
def test_without_a_gpu_the_builds_for_the_cpu_are_installed(
    installer: Installer, accelerator: dict[str, str]
) -> None:
    assert installer.installed("all", **accelerator) == [
        CPU_BUILD,
        " ".join(["install", *WITHOUT_GPU]),
    ]


@pytest.mark.parametrize("smi", [ONE_GPU, TWO_GPUS])
def test_with_a_gpu_the_builds_for_cuda_are_installed_each_library_once(
    installer: Installer, smi: str
) -> None:
    write_program(installer.tools / "nvidia-smi", smi)
    assert installer.installed("all") == [" ".join(["install", *WITH_GPU])]


def test_a_driver_without_a_gpu_does_not_count_as_a_gpu(installer: Installer) -> None:
    write_program(installer.tools / "nvidia-smi", DRIVER_WITHOUT_GPU)
    assert installer.installed("all")[0] == CPU_BUILD


def test_the_builds_for_the_cpu_can_be_installed_on_a_machine_with_a_gpu(
    installer: Installer,
) -> None:
    write_program(installer.tools / "nvidia-smi", TWO_GPUS)
    assert installer.installed("all", ACCELERATOR="cpu")[0] == CPU_BUILD


def test_the_builds_for_cuda_can_be_installed_on_a_machine_without_a_gpu(
    installer: Installer,
) -> None:
    assert installer.installed("all", ACCELERATOR="cuda") == [" ".join(["install", *WITH_GPU])]


def test_the_cpu_build_may_come_from_another_index(installer: Installer) -> None:
    done = installer.installed("all", TORCH_INDEX="https://mirror.example/cpu")
    assert done[0] == "pip install torch==2.13.0+cpu from https://mirror.example/cpu"


@pytest.mark.parametrize("wrong", ["gpu", "CPU", "cu130"])
def test_an_unknown_accelerator_is_refused_before_any_change(
    installer: Installer, wrong: str
) -> None:
    done = installer("all", ACCELERATOR=wrong)
    assert done.returncode == 2
    assert f"unknown ACCELERATOR {wrong}: use cpu or cuda" in done.stderr
    assert installer.calls() == []


def test_an_unknown_set_is_refused_before_any_change(installer: Installer) -> None:
    done = installer("everything")
    assert (done.returncode, installer.calls()) == (2, [])
    assert "unknown set everything: use core, dev, mutation or all" in done.stderr


def test_the_environment_of_another_clone_is_left_alone(installer: Installer) -> None:
    theirs = installer.folder / ".venv"
    theirs.rename(installer.folder / "theirs")
    theirs.symlink_to("theirs")
    done = installer("all")
    assert (done.returncode, installer.calls()) == (1, [])
    assert ".venv is a link" in done.stderr


def test_an_unknown_extra_is_refused_with_the_error_of_poetry(installer: Installer) -> None:
    done = installer("all", EXTRAS="torch absent")
    assert done.returncode == 1
    assert "Extra [absent] is not specified." in done.stderr
    assert installer.calls() == []


def test_from_cuda_to_cpu_the_libraries_of_nvidia_are_removed(installer: Installer) -> None:
    installer.has("numpy==2.3.5", "torch==2.13.0", "nvidia-cudnn-cu13==9.20.0.48", "triton==3.7.1")
    done = installer.installed("all", ACCELERATOR="cpu")
    assert done[:2] == [CPU_BUILD, "uninstall nvidia-cudnn-cu13 triton"]


def test_from_cpu_to_cuda_the_cpu_build_is_removed_first(installer: Installer) -> None:
    # enough lines to be still writing when the line of torch was read
    installer.has("torch==2.13.0+cpu", *(f"zzz-{number}==1.0" for number in range(20_000)))
    done = installer.installed("all", ACCELERATOR="cuda")
    assert done == ["uninstall torch", " ".join(["install", *WITH_GPU])]


@pytest.mark.parametrize("what", ["core", "dev"])
def test_a_set_without_pytorch_leaves_an_installed_pytorch_alone(
    installer: Installer, what: str
) -> None:
    (installer.folder / "locked").write_text("numpy==2.3.5 \\\n    --hash=sha256:0\n", "utf-8")
    installer.has("torch==2.13.0", "nvidia-cudnn-cu13==9.20.0.48")
    for accelerator in ("cpu", "cuda"):
        assert installer.installed(what, ACCELERATOR=accelerator) == ["install numpy==2.3.5"]


def test_macos_has_only_one_build_of_pytorch(installer: Installer) -> None:
    write_program(installer.tools / "uname", "#!/bin/sh\necho Darwin\n")
    locked = "torch==2.13.0 \\\n    --hash=sha256:0\n"
    (installer.folder / "locked").write_text(locked, "utf-8")
    assert installer.installed("all") == ["install torch==2.13.0"]


def test_the_lock_lists_the_nvidia_version_of_pytorch_first() -> None:
    packages = tomllib.loads((ROOT / "poetry.lock").read_text("utf-8"))["package"]
    pins = next((each["dependencies"] for each in packages if each["name"] == "cuda-toolkit"), {})
    versions: dict[str, list[str]] = {}
    for package in packages:
        if package["name"].startswith("nvidia-"):
            versions.setdefault(package["name"], []).append(package["version"])
    for name, locked in versions.items():
        if len(locked) > 1:
            assert locked[0] in SpecifierSet(pins[name]["version"]), name
