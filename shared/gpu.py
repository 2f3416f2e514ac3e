"""What this machine can compute on: NVIDIA driver, PyTorch, TensorFlow and ONNX Runtime.

Each framework is imported in a process of its own, ``python -m shared.gpu MODULE``, and multiplies
two matrices there, so a broken installation is reported and stops nothing. Needs the standard
library only.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import timeit
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
"""Runs a command to its end; raises OSError or subprocess.TimeoutExpired."""

Find = Callable[[str], object | None]
"""Something for the name of an installed module, None where there is none."""

_FIELDS = ("index", "name", "memory.total", "compute_cap", "driver_version")
_NVIDIA_SMI = ("nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
_TIMEOUT_SECONDS = 180  # the first import of TensorFlow from a cold disk takes most of a minute
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ABSL_MIN_LOG_LEVEL": "3",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # or TensorFlow takes the whole memory of every GPU
}
_UNINSTALL = ".venv/bin/python -m pip uninstall --yes"
_CUDA_BUILD = "make install ACCELERATOR=cuda"

_SIZE = 1024  # rows and columns of the matrices that are multiplied
_REPEATS = 20  # the first ones warm up, and the fastest counts

_CUDA_PROVIDER, _CPU_PROVIDER = "CUDAExecutionProvider", "CPUExecutionProvider"


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
        cuda: the newest CUDA that it runs; None where it does not tell.
        problem: why there are no GPUs; None where there are some.
    """

    version: str | None
    devices: tuple[Device, ...]
    cuda: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Product:
    """A timed product of two float32 matrices, 1024 × 1024 each.

    Attributes:
        gpu: the GPU that computed it, as the framework counts them; None for the CPU.
        milliseconds: the fastest of several, until the device was done.
        gflops: 2 · 1024³ floating-point operations in that time, in GFLOP/s. A fast GPU is done so
            soon that much of the time is the launch.
    """

    gpu: int | None
    milliseconds: float
    gflops: float


@dataclass(frozen=True)
class Facts:
    """What a framework says about itself.

    Attributes:
        version: its version.
        build: what it was built for, such as ``CUDA 13.0``.
        gpus: names of the GPUs that it can compute on.
        providers: ONNX Runtime's execution providers; empty for the others.
        products: one for each GPU, or one on the CPU; empty where a product failed.
    """

    version: str
    build: str
    gpus: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    products: tuple[Product, ...] = ()


@dataclass(frozen=True)
class Framework:
    """One framework: without `facts` and `problem` it is not installed.

    Attributes:
        title: its name, for people.
        facts: None where it cannot be imported.
        problem: why it cannot be imported or, where there are facts, cannot multiply.
    """

    title: str
    facts: Facts | None = None
    problem: str | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether it has computed on a GPU."""
        return self.facts is not None and any(p.gpu is not None for p in self.facts.products)


@dataclass(frozen=True)
class Probe:
    """How a framework is asked.

    Attributes:
        title: its name, for people.
        module: the module to import.
        package: what pip calls it.
        install: the command that installs it.
        mend: what to do where a CUDA build does not compute on a GPU that is there.
        ask: facts of the imported module, without products.
        multiply: its products, timed; raises whatever the framework raises.
    """

    title: str
    module: str
    package: str
    install: str
    mend: str
    ask: Callable[[Any], Facts]
    multiply: Callable[[Any, Facts], tuple[Product, ...]]


@dataclass(frozen=True)
class Report:
    """Everything that was found."""

    driver: Driver
    frameworks: tuple[Framework, ...]

    @property
    def usable_by(self) -> tuple[str, ...]:
        """Frameworks that have computed on a GPU."""
        return tuple(framework.title for framework in self.frameworks if framework.on_gpu)


def torch_facts(torch: Any) -> Facts:
    """Facts of the module ``torch``."""
    cuda, rocm = torch.version.cuda, getattr(torch.version, "hip", None)
    build = f"CUDA {cuda}" if cuda else f"ROCm {rocm}" if rocm else "CPU only"
    indices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    names = tuple(torch.cuda.get_device_name(index) for index in indices)
    return Facts(str(torch.__version__), build, names)


def torch_products(torch: Any, facts: Facts) -> tuple[Product, ...]:
    """Time PyTorch on each GPU of `facts`, or on the CPU."""

    def timed(gpu: int | None) -> Product:
        matrix = torch.ones((_SIZE, _SIZE), device="cpu" if gpu is None else f"cuda:{gpu}")

        def multiply() -> None:
            torch.mm(matrix, matrix)
            if gpu is not None:
                torch.cuda.synchronize(gpu)

        return _timed(multiply, gpu)

    return tuple(timed(gpu) for gpu in range(len(facts.gpus))) or (timed(None),)


def tensorflow_facts(tensorflow: Any) -> Facts:
    """Facts of the module ``tensorflow``."""
    info = tensorflow.sysconfig.get_build_info()
    build = f"CUDA {info.get('cuda_version', '')}".strip() if info["is_cuda_build"] else "CPU only"
    details = tensorflow.config.experimental.get_device_details
    devices = tensorflow.config.list_physical_devices("GPU")
    names = tuple(str(details(device).get("device_name", device.name)) for device in devices)
    return Facts(str(tensorflow.__version__), build, names)


def tensorflow_products(tensorflow: Any, facts: Facts) -> tuple[Product, ...]:
    """Time TensorFlow on each GPU of `facts`, or on the CPU."""

    def timed(gpu: int | None) -> Product:
        device = "CPU:0" if gpu is None else f"GPU:{gpu}"
        with tensorflow.device(device):
            matrix = tensorflow.ones((_SIZE, _SIZE))

        def multiply() -> None:
            with tensorflow.device(device):  # without it, TensorFlow moves the product to GPU 0
                tensorflow.linalg.matmul(matrix, matrix)
            tensorflow.test.experimental.sync_devices()

        return _timed(multiply, gpu)

    return tuple(timed(gpu) for gpu in range(len(facts.gpus))) or (timed(None),)


def onnxruntime_facts(onnxruntime: Any) -> Facts:
    """Facts of the module ``onnxruntime``: providers it was built with, not all need to work."""
    providers = tuple(onnxruntime.get_available_providers())
    build = "CUDA" if _CUDA_PROVIDER in providers else "CPU only"
    return Facts(str(onnxruntime.__version__), build, providers=providers)


def onnxruntime_products(onnxruntime: Any, facts: Facts) -> tuple[Product, ...]:
    """Time ONNX Runtime with CUDA where that provider of `facts` loads, otherwise on the CPU."""
    numpy, helper = (importlib.import_module(name) for name in ("numpy", "onnx.helper"))
    float32, shape = 1, (_SIZE, _SIZE)  # onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["matrix", "matrix"], ["product"])],
        "product",
        [helper.make_tensor_value_info("matrix", float32, shape)],
        [helper.make_tensor_value_info("product", float32, shape)],
    )
    # versions that every onnxruntime of the last years reads, however new onnx is
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])

    wanted = [name for name in (_CUDA_PROVIDER, _CPU_PROVIDER) if name in facts.providers]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=wanted)
    # a provider that does not load is left out of the session, without an error
    gpu = 0 if _CUDA_PROVIDER in session.get_providers() else None
    memory = "cpu" if gpu is None else "cuda"
    matrix = onnxruntime.OrtValue.ortvalue_from_numpy(numpy.ones(shape, numpy.float32), memory, 0)
    binding = session.io_binding()  # matrices stay on the device: their transfer is not timed
    binding.bind_ortvalue_input("matrix", matrix)
    binding.bind_output("product", memory)

    def multiply() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return (_timed(multiply, gpu),)


PROBES = (
    Probe(
        "PyTorch",
        "torch",
        "torch",
        "make install EXTRAS=torch",
        "update the driver, and look whether CUDA_VISIBLE_DEVICES hides the GPU",
        torch_facts,
        torch_products,
    ),
    Probe(
        "TensorFlow",
        "tensorflow",
        "tensorflow",
        "make install EXTRAS=tensorflow",
        f"{_CUDA_BUILD} brings CUDA's libraries; CUDA_VISIBLE_DEVICES may hide the GPU, too",
        tensorflow_facts,
        tensorflow_products,
    ),
    Probe(
        "ONNX Runtime",
        "onnxruntime",
        "onnxruntime",
        "make install-dev",
        "it needs CUDA and cuDNN as https://onnxruntime.ai/docs/execution-providers/"
        "CUDA-ExecutionProvider.html#requirements says",
        onnxruntime_facts,
        onnxruntime_products,
    ),
)


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command with TensorFlow's log silenced, at most three minutes."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        env={**os.environ, **_ENVIRONMENT},
        check=False,
    )


def check_driver(run: Run) -> Driver:
    """Ask ``nvidia-smi``; whatever it does, there is an answer."""
    try:
        done = run(_NVIDIA_SMI)
    except FileNotFoundError:
        return Driver(None, (), problem="nvidia-smi not found")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Driver(None, (), problem=f"nvidia-smi did not run: {error}")
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = lines[0].rstrip(".") if lines else f"nvidia-smi ended with {done.returncode}"
        return Driver(None, (), problem=reason)
    rows = [row for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if row]
    if not rows or any(len(row) != len(_FIELDS) or not row[0].isdigit() for row in rows):
        return Driver(None, (), problem=f"nvidia-smi answered {done.stdout.strip()[:80]!r}")
    devices = tuple(
        Device(int(index), name, int(memory) if memory.isdigit() else None, _told(capability))
        for index, name, memory, capability, _ in rows
    )
    return Driver(_told(rows[0][-1]), devices, _cuda_of_driver(run))


def check_framework(probe: Probe, run: Run, find: Find) -> Framework:
    """Import a framework in another process and ask it; whatever it does, there is an answer."""
    if find(probe.module) is None:
        return Framework(probe.title)
    try:
        done = run((sys.executable, "-m", "shared.gpu", probe.module))
    except (OSError, subprocess.TimeoutExpired) as error:
        return Framework(probe.title, problem=f"did not answer: {error}")
    # a framework may write lines of its own; facts come before the products, then with them
    answers = [line for line in done.stdout.splitlines() if line.startswith('{"version"')]
    facts = _read_facts(answers[-1]) if answers else None
    if done.returncode < 0:
        return Framework(probe.title, facts, f"ended by signal {-done.returncode}")
    if done.returncode or not facts:
        return Framework(probe.title, facts, _exception_in(done.stderr))
    return Framework(probe.title, facts)


def check(run: Run, find: Find, probes: Sequence[Probe] = PROBES) -> Report:
    """Ask the driver and all frameworks, one after the other: they would slow each other down."""
    frameworks = tuple(check_framework(probe, run, find) for probe in probes)
    return Report(check_driver(run), frameworks)


def advise(report: Report, probes: Sequence[Probe] = PROBES) -> list[str]:
    """What is missing, each with the command that mends it."""
    driver = report.driver
    advice = []
    if not driver.devices:
        advice.append(
            f"No NVIDIA GPU: {driver.problem}. Where there is one, install its driver: "
            "https://www.nvidia.com/drivers"
        )
    absent = 0
    for probe, framework in zip(probes, report.frameworks, strict=True):
        title, facts, problem = framework.title, framework.facts, framework.problem
        again = f"{_UNINSTALL} {probe.package} && {probe.install}"
        if problem and not facts:
            advice.append(f"{title} is installed but broken ({problem}): {again}")
        elif problem:
            full = (
                "nvidia-smi tells whether its memory is full, otherwise " if driver.devices else ""
            )
            advice.append(f"{title} cannot multiply matrices ({problem}): {full}{again}")
        elif not facts:
            absent += 1
            advice.append(f"{title} is not installed: {probe.install}")
        elif framework.on_gpu or not driver.devices:
            continue
        elif facts.build != "CPU only":
            newest = f" runs CUDA up to {driver.cuda}" if driver.cuda else ""
            advice.append(
                f"{title} is built for {facts.build} but computes on the CPU (driver "
                f"{driver.version}{newest}): {probe.mend}"
            )
        elif not facts.providers:  # ONNX Runtime serves on the CPU by design
            advice.append(f"{title} is built for the CPU only: {_CUDA_BUILD}")
    if absent > 1:
        advice.append("Everything at once: make install")
    return advice


def render(report: Report, advice: Sequence[str]) -> str:
    """The report as a table for people, with a verdict and the advice below."""
    product = f"float32 product of {_SIZE} x {_SIZE}"
    rows = [("", "version", "built for", "computes on", product), *_driver_rows(report.driver)]
    for framework in report.frameworks:
        rows.extend(_framework_rows(framework))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
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


def run_probe(module_name: str) -> None:
    """Print what one framework finds, in a process of its own: the products can end it."""
    probe = next(probe for probe in PROBES if probe.module == module_name)
    module = importlib.import_module(module_name)
    facts = probe.ask(module)
    _write_facts(facts)
    _write_facts(replace(facts, products=probe.multiply(module, facts)))


def _timed(multiply: Callable[[], None], gpu: int | None) -> Product:
    seconds = min(timeit.repeat(multiply, number=1, repeat=_REPEATS))
    return Product(gpu, round(seconds * 1e3, 4), round(2 * _SIZE**3 / seconds / 1e9, 1))


def _write_facts(facts: Facts) -> None:
    sys.stdout.write(f"\n{json.dumps(asdict(facts))}\n")
    sys.stdout.flush()


def _read_facts(line: str) -> Facts:
    told = json.loads(line)
    products = tuple(Product(**product) for product in told["products"])
    gpus, providers = tuple(told["gpus"]), tuple(told["providers"])
    return Facts(told["version"], told["build"], gpus, providers, products)


def _cuda_of_driver(run: Run) -> str | None:
    """The newest CUDA of the driver: no field to query, only the head of ``nvidia-smi`` has it."""
    try:
        head = run(("nvidia-smi",)).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"CUDA (?:UMD )?Version: *(\d+\.\d+)", head)  # UMD: since driver 610
    return found[1] if found else None


def _driver_rows(driver: Driver) -> list[tuple[str, str, str, str, str]]:
    title, version = "NVIDIA driver", driver.version or "-"
    if not driver.devices:
        return [(title, version, "-", f"no GPU ({driver.problem})", "")]
    first, *others = map(_describe, driver.devices)
    cuda = f"CUDA {driver.cuda}" if driver.cuda else "-"
    return [(title, version, cuda, first, ""), *(("", "", "", other, "") for other in others)]


def _framework_rows(framework: Framework) -> list[tuple[str, str, str, str, str]]:
    facts = framework.facts
    if facts is None:
        state = "broken" if framework.problem else "not installed"
        return [(framework.title, "-", "-", state, "")]
    devices = facts.gpus or (", ".join(facts.providers) or "CPU",)
    products = [_describe_product(product) for product in facts.products] or ["failed"]
    (device, product), *others = zip_longest(devices, products, fillvalue="")
    first = (framework.title, facts.version, facts.build, device, product)
    return [first, *(("", "", "", device, product) for device, product in others)]


def _describe_product(product: Product) -> str:
    place = "CPU" if product.gpu is None else f"GPU {product.gpu}"
    return f"{product.milliseconds:.2f} ms, {product.gflops:,.0f} GFLOP/s on {place}"


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
    run_probe(sys.argv[1])
