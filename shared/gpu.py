"""GPU check of this machine: NVIDIA driver, PyTorch, TensorFlow and ONNX Runtime.

Each framework is imported in a separate process, ``python -m shared.gpu MODULE``, and multiplies
two matrices there, so that a broken installation is reported and does not stop the check. Needs the
standard library only.
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
"""Runs a command and waits for its end; raises OSError or subprocess.TimeoutExpired."""

Find = Callable[[str], object | None]
"""Finds a module by its name; None if it is not installed."""

_FIELDS = ("index", "name", "memory.total", "compute_cap", "driver_version")
_NVIDIA_SMI = ("nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
_TIMEOUT_SECONDS = 180  # the first import of TensorFlow from a cold disk takes most of a minute
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ABSL_MIN_LOG_LEVEL": "3",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # else TensorFlow allocates the memory of every GPU
}
_UNINSTALL = ".venv/bin/python -m pip uninstall --yes"
_CUDA_BUILD = "make install ACCELERATOR=cuda"

_SIZE = 1024  # rows and columns of the matrices that are multiplied
_REPEATS = 20  # the fastest counts; the first ones warm up

_CUDA_PROVIDER, _CPU_PROVIDER = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass(frozen=True)
class Device:
    """One GPU as reported by the driver; None for what it does not report."""

    index: int
    name: str
    memory_mib: int | None
    compute_capability: str | None


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver.

    Attributes:
        version: None if the driver does not respond.
        devices: the GPUs that it finds.
        cuda: the newest supported CUDA version; None if unknown.
        problem: why there are no GPUs; None if there are some.
    """

    version: str | None
    devices: tuple[Device, ...]
    cuda: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Product:
    """A timed product of two float32 matrices, 1024 × 1024 each.

    Attributes:
        gpu: index of the GPU in the framework; None for the CPU.
        milliseconds: the fastest of several runs, until the device had finished.
        gflops: 2 · 1024³ floating-point operations in that time, in GFLOP/s. On a fast GPU much of
            the time is spent on the launch.
    """

    gpu: int | None
    milliseconds: float
    gflops: float


@dataclass(frozen=True)
class Facts:
    """What a framework reports about itself.

    Attributes:
        version: its version.
        build: what it was built for, such as ``CUDA 13.0``.
        gpus: names of the GPUs that it can use.
        providers: ONNX Runtime's execution providers; empty for the other frameworks.
        products: one for each GPU, or one on the CPU; empty if a product failed.
    """

    version: str
    build: str
    gpus: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    products: tuple[Product, ...] = ()


@dataclass(frozen=True)
class Framework:
    """One framework. It is not installed if it has neither `facts` nor a `problem`.

    Attributes:
        title: its name, for people.
        facts: None if it cannot be imported.
        problem: why it cannot be imported; if there are facts, why it cannot multiply.
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
    """How a framework is checked.

    Attributes:
        title: its name, for people.
        module: the module to import.
        package: its name in pip.
        install: the command that installs it.
        fix: what to do if a CUDA build does not compute on an existing GPU.
        inspect: returns the facts of the imported module, without products.
        multiply: returns its timed products; raises whatever the framework raises.
    """

    title: str
    module: str
    package: str
    install: str
    fix: str
    inspect: Callable[[Any], Facts]
    multiply: Callable[[Any, Facts], tuple[Product, ...]]


@dataclass(frozen=True)
class Report:
    """The result of the check."""

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
    """Facts of the module ``onnxruntime``, with the providers of its build: not all may work."""
    providers = tuple(onnxruntime.get_available_providers())
    build = "CUDA" if _CUDA_PROVIDER in providers else "CPU only"
    return Facts(str(onnxruntime.__version__), build, providers=providers)


def onnxruntime_products(onnxruntime: Any, facts: Facts) -> tuple[Product, ...]:
    """Time ONNX Runtime with CUDA if that provider loads, otherwise on the CPU."""
    numpy, helper = (importlib.import_module(name) for name in ("numpy", "onnx.helper"))
    float32, shape = 1, (_SIZE, _SIZE)  # onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["matrix", "matrix"], ["product"])],
        "product",
        [helper.make_tensor_value_info("matrix", float32, shape)],
        [helper.make_tensor_value_info("product", float32, shape)],
    )
    # old versions, which every recent onnxruntime reads, however new onnx is
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])

    wanted = [name for name in (_CUDA_PROVIDER, _CPU_PROVIDER) if name in facts.providers]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=wanted)
    # onnxruntime drops a provider that does not load, without an error
    gpu = 0 if _CUDA_PROVIDER in session.get_providers() else None
    memory = "cpu" if gpu is None else "cuda"
    matrix = onnxruntime.OrtValue.ortvalue_from_numpy(numpy.ones(shape, numpy.float32), memory, 0)
    binding = session.io_binding()  # keeps the matrices on the device: their transfer is not timed
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
        "update the driver, and check whether CUDA_VISIBLE_DEVICES hides the GPU",
        torch_facts,
        torch_products,
    ),
    Probe(
        "TensorFlow",
        "tensorflow",
        "tensorflow",
        "make install EXTRAS=tensorflow",
        f"{_CUDA_BUILD} installs CUDA's libraries; also check whether CUDA_VISIBLE_DEVICES hides "
        "the GPU",
        tensorflow_facts,
        tensorflow_products,
    ),
    Probe(
        "ONNX Runtime",
        "onnxruntime",
        "onnxruntime",
        "make install-dev",
        "install CUDA and cuDNN, see https://onnxruntime.ai/docs/execution-providers/"
        "CUDA-ExecutionProvider.html#requirements",
        onnxruntime_facts,
        onnxruntime_products,
    ),
)


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command with TensorFlow's log silenced, for at most three minutes."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        env={**os.environ, **_ENVIRONMENT},
        check=False,
    )


def check_driver(run: Run) -> Driver:
    """Query ``nvidia-smi``; never raises, a failure is the driver's `problem`."""
    try:
        done = run(_NVIDIA_SMI)
    except FileNotFoundError:
        return Driver(None, (), problem="nvidia-smi not found")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Driver(None, (), problem=f"nvidia-smi did not run: {error}")
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = lines[0].rstrip(".") if lines else f"nvidia-smi exited with {done.returncode}"
        return Driver(None, (), problem=reason)
    rows = [row for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if row]
    if not rows or any(len(row) != len(_FIELDS) or not row[0].isdigit() for row in rows):
        return Driver(None, (), problem=f"nvidia-smi printed {done.stdout.strip()[:80]!r}")
    devices = tuple(
        Device(int(index), name, int(memory) if memory.isdigit() else None, _known(capability))
        for index, name, memory, capability, _ in rows
    )
    return Driver(_known(rows[0][-1]), devices, _cuda_of_driver(run))


def check_framework(probe: Probe, run: Run, find: Find) -> Framework:
    """Check a framework in another process; never raises, a failure is its `problem`."""
    if find(probe.module) is None:
        return Framework(probe.title)
    try:
        done = run((sys.executable, "-m", "shared.gpu", probe.module))
    except (OSError, subprocess.TimeoutExpired) as error:
        return Framework(probe.title, problem=f"did not respond: {error}")
    # a framework may print lines, too; facts are printed without products, then with them
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"version"')]
    facts = _parse_facts(lines[-1]) if lines else None
    if done.returncode < 0:
        return Framework(probe.title, facts, f"ended by signal {-done.returncode}")
    if done.returncode or not facts:
        return Framework(probe.title, facts, _exception_in(done.stderr))
    return Framework(probe.title, facts)


def check(run: Run, find: Find, probes: Sequence[Probe] = PROBES) -> Report:
    """Check the driver and all frameworks, one by one, since they would slow each other down."""
    frameworks = tuple(check_framework(probe, run, find) for probe in probes)
    return Report(check_driver(run), frameworks)


def advise(report: Report, probes: Sequence[Probe] = PROBES) -> list[str]:
    """What is missing, each with the command that fixes it."""
    driver = report.driver
    advice = []
    if not driver.devices:
        advice.append(
            f"No NVIDIA GPU: {driver.problem}. If this machine has one, install its driver: "
            "https://www.nvidia.com/drivers"
        )
    absent = 0
    for probe, framework in zip(probes, report.frameworks, strict=True):
        title, facts, problem = framework.title, framework.facts, framework.problem
        reinstall = f"{_UNINSTALL} {probe.package} && {probe.install}"
        if problem and not facts:
            advice.append(f"{title} is installed but broken ({problem}): {reinstall}")
        elif problem:
            memory = (
                "check with nvidia-smi whether its memory is full, otherwise "
                if driver.devices
                else ""
            )
            advice.append(f"{title} cannot multiply matrices ({problem}): {memory}{reinstall}")
        elif not facts:
            absent += 1
            advice.append(f"{title} is not installed: {probe.install}")
        elif framework.on_gpu or not driver.devices:
            continue
        elif facts.build != "CPU only":
            newest = f" supports CUDA up to {driver.cuda}" if driver.cuda else ""
            advice.append(
                f"{title} is built for {facts.build} but computes on the CPU (driver "
                f"{driver.version}{newest}): {probe.fix}"
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
    """Print the facts of one framework. Runs in a separate process, which a product may crash."""
    probe = next(probe for probe in PROBES if probe.module == module_name)
    module = importlib.import_module(module_name)
    facts = probe.inspect(module)
    _write_facts(facts)
    _write_facts(replace(facts, products=probe.multiply(module, facts)))


def _timed(multiply: Callable[[], None], gpu: int | None) -> Product:
    seconds = min(timeit.repeat(multiply, number=1, repeat=_REPEATS))
    return Product(gpu, round(seconds * 1e3, 4), round(2 * _SIZE**3 / seconds / 1e9, 1))


def _write_facts(facts: Facts) -> None:
    sys.stdout.write(f"\n{json.dumps(asdict(facts))}\n")
    sys.stdout.flush()


def _parse_facts(line: str) -> Facts:
    data = json.loads(line)
    products = tuple(Product(**product) for product in data["products"])
    gpus, providers = tuple(data["gpus"]), tuple(data["providers"])
    return Facts(data["version"], data["build"], gpus, providers, products)


def _cuda_of_driver(run: Run) -> str | None:
    """The newest CUDA version of the driver, from the header of ``nvidia-smi``: no query has it."""
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
    compute = f", compute {device.compute_capability}" if device.compute_capability else ""
    return f"{device.index}: {device.name}{memory}{compute}"


def _known(value: str) -> str | None:
    """None for a value that nvidia-smi does not know, such as ``[N/A]``."""
    return None if value.startswith("[") else value


def _exception_in(stderr: str) -> str:
    """The line of a traceback that names the exception, at most 200 characters."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (named or lines or ["it gave no reason"])[-1][:200]


if __name__ == "__main__":
    run_probe(sys.argv[1])
