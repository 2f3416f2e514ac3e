"""What this machine can compute on: NVIDIA driver, PyTorch, TensorFlow and ONNX Runtime.

``python -m shared.gpu`` prints a table and how to mend what is missing. Each framework is imported
in a process of its own, so a broken installation is reported and stops nothing. Needs the standard
library only.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
"""Runs a command to its end; raises OSError or subprocess.TimeoutExpired."""

Find = Callable[[str], object | None]
"""Something for the name of an installed module, None where there is none."""

_FIELDS = ("index", "name", "memory.total", "compute_cap", "driver_version")
_NVIDIA_SMI = ("nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
_TIMEOUT_SECONDS = 180  # the first import of TensorFlow from a cold disk takes most of a minute
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "ABSL_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True)
class Device:
    """One GPU as the driver sees it; what the driver does not tell is None."""

    index: int
    name: str
    memory_mib: int | None
    compute_capability: str | None


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver.

    Attributes:
        version: None where it did not answer.
        devices: the GPUs that it sees.
        problem: why there are none; None where there are some.
    """

    version: str | None
    devices: tuple[Device, ...]
    problem: str | None = None


@dataclass(frozen=True)
class Facts:
    """What a framework says about itself.

    Attributes:
        version: its version.
        build: what it was built for, such as ``CUDA 13.0``.
        gpus: names of the GPUs that it can compute on.
        providers: ONNX Runtime's execution providers; empty for the others.
    """

    version: str
    build: str
    gpus: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Framework:
    """One framework: `facts` where it works, `problem` where it is installed but broken."""

    title: str
    facts: Facts | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Probe:
    """How a framework is asked.

    Attributes:
        title: its name, for people.
        module: the module to import.
        package: what pip calls it.
        install: the command that installs it.
        ask: facts of the imported module.
    """

    title: str
    module: str
    package: str
    install: str
    ask: Callable[[Any], Facts]


@dataclass(frozen=True)
class Report:
    """Everything that was found."""

    driver: Driver
    frameworks: tuple[Framework, ...]

    @property
    def usable_by(self) -> tuple[str, ...]:
        """Frameworks that can compute on a GPU."""
        return tuple(f.title for f in self.frameworks if f.facts and f.facts.gpus)


def torch_facts(torch: Any) -> Facts:
    """Facts of the module ``torch``; each GPU computes one value.

    Raises:
        RuntimeError: a GPU is listed, but this build has no code for it or cannot start it.
    """
    cuda, rocm = torch.version.cuda, getattr(torch.version, "hip", None)
    build = f"CUDA {cuda}" if cuda else f"ROCm {rocm}" if rocm else "CPU only"
    indices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    for index in indices:
        torch.ones(1, device=f"cuda:{index}").item()
    names = tuple(torch.cuda.get_device_name(index) for index in indices)
    return Facts(str(torch.__version__), build, names)


def tensorflow_facts(tensorflow: Any) -> Facts:
    """Facts of the module ``tensorflow``."""
    info = tensorflow.sysconfig.get_build_info()
    build = f"CUDA {info.get('cuda_version', '')}".strip() if info["is_cuda_build"] else "CPU only"
    details = tensorflow.config.experimental.get_device_details
    devices = tensorflow.config.list_physical_devices("GPU")
    names = tuple(str(details(device).get("device_name", device.name)) for device in devices)
    return Facts(str(tensorflow.__version__), build, names)


def onnxruntime_facts(onnxruntime: Any) -> Facts:
    """Facts of the module ``onnxruntime``: providers it was built with, not all need to work."""
    providers = tuple(onnxruntime.get_available_providers())
    build = "CUDA" if "CUDAExecutionProvider" in providers else "CPU only"
    return Facts(str(onnxruntime.__version__), build, providers=providers)


PROBES = (
    Probe("PyTorch", "torch", "torch", "make install EXTRAS=torch", torch_facts),
    Probe(
        "TensorFlow", "tensorflow", "tensorflow", "make install EXTRAS=tensorflow", tensorflow_facts
    ),
    Probe("ONNX Runtime", "onnxruntime", "onnxruntime", "make install-dev", onnxruntime_facts),
)


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command with TensorFlow's log silenced, at most three minutes."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        env={**os.environ, **_QUIET},
        check=False,
    )


def check_driver(run: Run) -> Driver:
    """Ask ``nvidia-smi``; whatever it does, there is an answer."""
    try:
        done = run(_NVIDIA_SMI)
    except FileNotFoundError:
        return Driver(None, (), "nvidia-smi not found")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Driver(None, (), f"nvidia-smi did not run: {error}")
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = lines[0].rstrip(".") if lines else f"nvidia-smi ended with {done.returncode}"
        return Driver(None, (), reason)
    rows = [row for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if row]
    if not rows or any(len(row) != len(_FIELDS) or not row[0].isdigit() for row in rows):
        return Driver(None, (), f"nvidia-smi answered {done.stdout.strip()[:80]!r}")
    devices = tuple(
        Device(int(index), name, int(memory) if memory.isdigit() else None, _told(capability))
        for index, name, memory, capability, _ in rows
    )
    return Driver(_told(rows[0][-1]), devices)


def check_framework(probe: Probe, run: Run, find: Find) -> Framework:
    """Import a framework in another process and ask it; whatever it does, there is an answer."""
    if find(probe.module) is None:
        return Framework(probe.title)
    try:
        done = run((sys.executable, "-m", "shared.gpu", "--probe", probe.module))
    except (OSError, subprocess.TimeoutExpired) as error:
        return Framework(probe.title, problem=f"did not answer: {error}")
    if done.returncode < 0:
        return Framework(probe.title, problem=f"ended by signal {-done.returncode} on import")
    if done.returncode or not done.stdout.strip():
        return Framework(probe.title, problem=_exception_in(done.stderr))
    facts = json.loads(done.stdout.splitlines()[-1])  # lines before it are the framework's own
    return Framework(
        probe.title,
        Facts(facts["version"], facts["build"], tuple(facts["gpus"]), tuple(facts["providers"])),
    )


def check(run: Run, find: Find, probes: Sequence[Probe] = PROBES) -> Report:
    """Ask the driver and all frameworks at the same time."""
    with ThreadPoolExecutor() as pool:
        driver = pool.submit(check_driver, run)
        frameworks = pool.map(lambda probe: check_framework(probe, run, find), probes)
        return Report(driver.result(), tuple(frameworks))


def advise(report: Report, probes: Sequence[Probe] = PROBES) -> list[str]:
    """What is missing, each with the command that mends it."""
    advice = []
    if not report.driver.devices:
        advice.append(
            f"No NVIDIA GPU: {report.driver.problem}. Where there is one, install its driver: "
            "https://www.nvidia.com/drivers"
        )
    absent = []
    for probe, framework in zip(probes, report.frameworks, strict=True):
        again = f"poetry run pip uninstall --yes {probe.package} && {probe.install}"
        facts = framework.facts
        if framework.problem:
            advice.append(f"{probe.title} is installed but broken ({framework.problem}): {again}")
        elif facts is None:
            absent.append(probe)
            advice.append(f"{probe.title} is not installed: {probe.install}")
        elif facts.gpus or facts.providers or not report.driver.devices:
            continue  # it computes on a GPU, serves on the CPU by design, or there is no GPU
        elif facts.build == "CPU only":
            advice.append(f"{probe.title} is built for the CPU only: {again}")
        elif probe.module == "tensorflow":
            advice.append(
                f"TensorFlow is built for {facts.build} but finds no GPU, or not the libraries for "
                "it: poetry run pip install 'tensorflow[and-cuda]'"
            )
        else:
            advice.append(
                f"{probe.title} is built for {facts.build} but finds no GPU: update the driver "
                f"({report.driver.version}), and look whether CUDA_VISIBLE_DEVICES hides it"
            )
    if len(absent) > 1:
        advice.append("Everything at once: make install")
    return advice


def render(report: Report, advice: Sequence[str]) -> str:
    """The report as a table for people, with a verdict and the advice below."""
    rows = [("", "version", "built for", "computes on"), *_driver_rows(report.driver)]
    for framework in report.frameworks:
        rows.extend(_framework_rows(framework))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    users = ", ".join(report.usable_by)
    lines += ["", f"GPU usable: yes, by {users}" if users else "GPU usable: no, the CPU is used"]
    if advice:
        lines += ["", "Missing:", *(f"  - {item}" for item in advice)]
    return "\n".join(lines) + "\n"


def to_json(report: Report, advice: Sequence[str]) -> str:
    """The report as JSON for programs."""
    data = {**asdict(report), "usable_by": report.usable_by, "advice": list(advice)}
    return json.dumps(data, indent=2) + "\n"


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    run: Run = run_command,
    find: Find = importlib.util.find_spec,
) -> int:
    """Print the report.

    Returns:
        Exit status: 1 where ``REQUIRE_GPU=1`` is set and no framework can use a GPU, otherwise 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m shared.gpu",
        description="What this machine can compute on, what is missing and how to get it.",
        epilog="Exits with 0 whether there is a GPU or not; with REQUIRE_GPU=1 in the environment "
        "it exits with 1 where neither PyTorch nor TensorFlow can use one.",
    )
    parser.add_argument("--json", action="store_true", help="write JSON instead of a table")
    modules = [probe.module for probe in PROBES]  # in its children this module is called with one
    parser.add_argument("--probe", choices=modules, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.probe:
        probe = PROBES[modules.index(options.probe)]
        facts = probe.ask(importlib.import_module(probe.module))
        sys.stdout.write(f"\n{json.dumps(asdict(facts))}\n")
        return 0

    report = check(run, find)
    advice = advise(report)
    sys.stdout.write(to_json(report, advice) if options.json else render(report, advice))
    if environ.get("REQUIRE_GPU") == "1" and not report.usable_by:
        sys.stderr.write("REQUIRE_GPU=1 is set, and neither PyTorch nor TensorFlow can use a GPU\n")
        return 1
    return 0


def _driver_rows(driver: Driver) -> list[tuple[str, str, str, str]]:
    title = "NVIDIA driver"
    if not driver.devices:
        return [(title, driver.version or "-", "-", f"no GPU ({driver.problem})")]
    cells = [_describe(device) for device in driver.devices]
    first = (title, driver.version or "-", "-", cells[0])
    return [first, *(("", "", "", cell) for cell in cells[1:])]


def _framework_rows(framework: Framework) -> list[tuple[str, str, str, str]]:
    facts = framework.facts
    if facts is None:
        return [(framework.title, "-", "-", "broken" if framework.problem else "not installed")]
    cells = facts.gpus or (", ".join(facts.providers) or "CPU",)
    first = (framework.title, facts.version, facts.build, cells[0])
    return [first, *(("", "", "", cell) for cell in cells[1:])]


def _describe(device: Device) -> str:
    memory = f", {device.memory_mib / 1024:.0f} GiB" if device.memory_mib else ""
    told = device.compute_capability
    return f"{device.index}: {device.name}{memory}{f', compute {told}' if told else ''}"


def _told(value: str) -> str | None:
    """None for what nvidia-smi writes where it does not know, such as ``[N/A]``."""
    return None if value.startswith("[") else value


def _exception_in(stderr: str) -> str:
    """The line of a traceback that names the exception, at most 200 characters."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (named or lines or ["it gave no reason"])[-1][:200]


if __name__ == "__main__":
    sys.exit(main())
