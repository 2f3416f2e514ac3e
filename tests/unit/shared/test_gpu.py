"""The report of `make checkgpu` on fake machines with and without a GPU."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from types import SimpleNamespace

import onnxruntime
import pytest

from infrastructure.cli import checkgpu
from infrastructure.cli.__main__ import main
from shared.gpu import (
    PROBES,
    Device,
    Driver,
    Facts,
    Framework,
    Probe,
    Product,
    Report,
    advise,
    check,
    check_driver,
    check_framework,
    onnxruntime_facts,
    onnxruntime_products,
    render,
    run_command,
    tensorflow_facts,
    tensorflow_products,
    torch_facts,
    torch_products,
)

ONE_DEVICE = "0, NVIDIA H200, 143771, 9.0, 580.65.06\n"
TWO_DEVICES = ONE_DEVICE + "1, NVIDIA GB10, [N/A], 12.1, 580.65.06\n"

HEAD = "| NVIDIA-SMI 580.65.06    Driver Version: 580.65.06    CUDA Version: 13.0 |"
HEAD_610 = "| NVIDIA-SMI 610.43.02    KMD Version: 610.43.02    CUDA UMD Version: 13.3 |"

ON_CPU = (Product(None, 20.0, 107.4),)
ON_GPU = (Product(0, 0.05, 42949.7),)
CUDA_TORCH = Facts("2.13.0", "CUDA 13.0", gpus=("NVIDIA H200",), products=ON_GPU)
CPU_TORCH = Facts("2.13.0", "CPU only", products=ON_CPU)
ONNX = Facts("1.32.0", "CPU only", providers=("CPUExecutionProvider",), products=ON_CPU)

CUDA_BEFORE_CPU = ("CUDAExecutionProvider", "CPUExecutionProvider")

Output = tuple[int, str, str]  # return code, stdout, stderr


@dataclass
class FakeMachine:
    """A driver and installed modules, each with the output of its process.

    Attributes:
        nvidia_smi: output of the query for devices; None if nvidia-smi is not installed.
        modules: output of each framework's process.
        head: output of nvidia-smi without arguments.
    """

    nvidia_smi: Output | Exception | None = None
    modules: Mapping[str, Output | Exception] = field(default_factory=dict)
    head: Output | Exception = (0, HEAD, "")

    def find(self, module: str) -> object | None:
        """Like importlib.util.find_spec."""
        return module if module in self.modules else None

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Like run_command."""
        output: Output | Exception | None
        if command[0] == "nvidia-smi":
            output = self.nvidia_smi if len(command) > 1 else self.head
        else:
            output = self.modules[command[-1]]
        if output is None:
            raise FileNotFoundError(command[0])
        if isinstance(output, Exception):
            raise output
        return subprocess.CompletedProcess(command, *output)


def output_of(facts: Facts) -> Output:
    """The output of the process of a working framework, after a banner of its own."""
    return 0, f"a banner of the framework\n{json.dumps(asdict(facts))}\n", ""


def table_of(machine: FakeMachine) -> str:
    """The report for people on that machine."""
    report = check(machine.run, machine.find)
    return render(report, advise(report))


def status_of(machine: FakeMachine, *argv: str, **environ: str) -> int:
    """Exit code of the entry point on that machine."""
    args = argparse.Namespace(json="--json" in argv)
    return checkgpu.run(args, environ=environ, run_command=machine.run, find=machine.find)


WITHOUT_GPU = FakeMachine(modules={"onnxruntime": output_of(ONNX)})
WITH_GPU = FakeMachine(
    (0, ONE_DEVICE, ""), {"torch": output_of(CUDA_TORCH), "onnxruntime": output_of(ONNX)}
)


def test_a_machine_without_a_driver_is_reported_as_such() -> None:
    table = table_of(WITHOUT_GPU)
    assert "no GPU (nvidia-smi not found)" in table
    assert "GPU usable: no" in table


def test_one_device_is_read_with_name_memory_and_compute_capability() -> None:
    assert check_driver(WITH_GPU.run) == Driver(
        "580.65.06", (Device(0, "NVIDIA H200", 143771, "9.0"),), "13.0"
    )
    assert "0: NVIDIA H200, 140 GiB, compute 9.0" in table_of(WITH_GPU)


def test_each_device_has_a_line_without_unknown_values() -> None:
    machine = FakeMachine((0, TWO_DEVICES, ""))
    assert check_driver(machine.run).devices[1] == Device(1, "NVIDIA GB10", None, "12.1")
    first, second = (line for line in table_of(machine).splitlines() if ": NVIDIA " in line)
    assert first.index("0: ") == second.index("1: ")
    assert second.strip() == "1: NVIDIA GB10, compute 12.1"


@pytest.mark.parametrize(
    ("head", "cuda"),
    [
        ((0, HEAD, ""), "13.0"),
        ((0, HEAD_610, ""), "13.3"),
        ((0, "CUDA Version: N/A", ""), None),
        ((9, "", ""), None),
        (subprocess.TimeoutExpired("nvidia-smi", 180), None),
    ],
)
def test_the_newest_cuda_version_of_the_driver_is_shown_if_known(
    head: Output | Exception, cuda: str | None
) -> None:
    machine = FakeMachine((0, ONE_DEVICE, ""), head=head)
    assert check_driver(machine.run).cuda == cuda
    row = next(line for line in table_of(machine).splitlines() if "NVIDIA driver" in line)
    assert row.split("580.65.06")[1].split("0: ")[0].strip() == (f"CUDA {cuda}" if cuda else "-")


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ((9, "NVIDIA-SMI has failed.\n", ""), "NVIDIA-SMI has failed"),
        ((2, "", 'Field "compute_cap" is not valid.'), 'Field "compute_cap" is not valid'),
        ((6, "", ""), "nvidia-smi exited with 6"),
        ((0, "", ""), "nvidia-smi printed ''"),
        ((0, "No devices were found", ""), "nvidia-smi printed 'No devices were found'"),
        (PermissionError("denied"), "nvidia-smi did not run: denied"),
        (subprocess.TimeoutExpired("nvidia-smi", 180), "timed out after 180 seconds"),
    ],
)
def test_a_driver_that_fails_is_reported_with_its_reason(
    output: Output | Exception, problem: str
) -> None:
    driver = check_driver(FakeMachine(output).run)
    assert not driver.devices
    assert driver.problem is not None and problem in driver.problem


def test_missing_frameworks_are_named_with_the_commands_that_install_them() -> None:
    table = table_of(WITHOUT_GPU)
    assert "PyTorch is not installed: make install EXTRAS=torch\n" in table
    assert "TensorFlow is not installed: make install EXTRAS=tensorflow\n" in table
    assert "Everything at once: make install\n" in table


def test_a_framework_that_uses_the_gpu_needs_no_advice() -> None:
    table = table_of(WITH_GPU)
    assert "GPU usable: yes, by PyTorch" in table
    assert "PyTorch is" not in table


def test_a_cpu_build_is_no_problem_without_a_gpu() -> None:
    assert "PyTorch is" not in table_of(FakeMachine(modules={"torch": output_of(CPU_TORCH)}))


@pytest.mark.parametrize(
    ("module", "build", "fix"),
    [
        ("torch", "CPU only", ": make install ACCELERATOR=cuda"),
        ("torch", "CUDA 13.0", "(driver 580.65.06 supports CUDA up to 13.0): update the driver"),
        ("tensorflow", "CPU only", ": make install ACCELERATOR=cuda"),
        ("tensorflow", "CUDA 12.5", ": make install ACCELERATOR=cuda installs CUDA's libraries"),
        ("onnxruntime", "CUDA", "CUDA-ExecutionProvider.html#requirements"),
    ],
)
def test_a_framework_that_misses_the_gpu_gets_advice(module: str, build: str, fix: str) -> None:
    facts = Facts("2.0", build, products=ON_CPU)
    table = table_of(FakeMachine((0, ONE_DEVICE, ""), {module: output_of(facts)}))
    assert f"is built for {'the CPU only' if build == 'CPU only' else build}" in table
    assert fix in table
    assert "GPU usable: no" in table


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (
            (1, "", "Traceback …\nImportError: libcudart.so: no such file\nlog after it\n"),
            "ImportError: libcudart.so: no such file",
        ),
        ((1, "", "no traceback at all"), "no traceback at all"),
        ((1, "", ""), "it gave no reason"),
        ((-11, "", ""), "ended by signal 11"),
        (subprocess.TimeoutExpired("python", 180), "timed out after 180 seconds"),
    ],
)
def test_a_broken_framework_is_reported_and_the_others_are_still_probed(
    output: Output | Exception, problem: str
) -> None:
    table = table_of(FakeMachine(modules={"torch": output, "onnxruntime": output_of(ONNX)}))
    assert "PyTorch is installed but broken" in table
    assert problem in table
    assert "CPUExecutionProvider" in table


def test_onnxruntime_for_the_cpu_is_no_problem_with_a_gpu() -> None:
    machine = FakeMachine((0, ONE_DEVICE, ""), {"onnxruntime": output_of(ONNX)})
    assert "ONNX Runtime is" not in table_of(machine)


def test_each_gpu_of_a_framework_takes_a_line_with_its_product() -> None:
    products = (Product(0, 0.05, 42949.7), Product(1, 1.5, 1431.7))
    facts = replace(CUDA_TORCH, gpus=("NVIDIA H200", "NVIDIA L4"), products=products)
    lines = table_of(FakeMachine((0, TWO_DEVICES, ""), {"torch": output_of(facts)})).splitlines()
    row = next(index for index, line in enumerate(lines) if line.startswith("PyTorch"))
    assert lines[row].split("CUDA 13.0  ")[1].split("  ")[0] == "NVIDIA H200"
    assert lines[row].endswith("  0.05 ms, 42,950 GFLOP/s on GPU 0")
    assert lines[row + 1].strip().startswith("NVIDIA L4  ")
    assert lines[row + 1].endswith("  1.50 ms, 1,432 GFLOP/s on GPU 1")


@pytest.mark.parametrize(
    ("status", "stderr", "problem"),
    [
        (1, "Traceback …\nAcceleratorError: no kernel image is available", "no kernel image"),
        (-11, "", "ended by signal 11"),
    ],
)
def test_a_framework_that_fails_at_its_product_is_reported_and_cannot_use_the_gpu(
    status: int, stderr: str, problem: str
) -> None:
    output = (status, output_of(replace(CUDA_TORCH, products=()))[1], stderr)
    machine = FakeMachine((0, ONE_DEVICE, ""), {"torch": output, "onnxruntime": output_of(ONNX)})
    table = table_of(machine)
    torch_row = next(line for line in table.splitlines() if line.startswith("PyTorch"))
    assert torch_row.startswith("PyTorch        2.13.0") and torch_row.endswith("failed")
    assert "PyTorch cannot multiply matrices (" in table and problem in table
    assert "20.00 ms, 107 GFLOP/s on CPU" in table  # the others are still checked
    assert "GPU usable: no" in table
    assert status_of(machine, REQUIRE_GPU="1") == 1


def test_the_columns_are_aligned() -> None:
    header, rule, *rows = table_of(WITH_GPU).split("\n\n", maxsplit=1)[0].splitlines()
    assert len(rule) == max(map(len, [header, *rows]))
    column = header.index("computes on")
    assert all(row[column - 1] == " " and row[column] != " " for row in rows)


@pytest.mark.parametrize(
    ("machine", "required", "status"),
    [
        (WITHOUT_GPU, "", 0),
        (WITHOUT_GPU, "0", 0),
        (WITHOUT_GPU, "1", 1),
        (FakeMachine((0, ONE_DEVICE, "")), "1", 1),  # a GPU that nothing here can use
        (FakeMachine(modules={"onnxruntime": output_of(replace(ONNX, products=ON_GPU))}), "1", 0),
        (WITH_GPU, "1", 0),
        (WITH_GPU, "", 0),
    ],
)
def test_the_exit_status_is_1_only_where_a_required_gpu_is_not_usable(
    machine: FakeMachine, required: str, status: int
) -> None:
    assert status_of(machine, REQUIRE_GPU=required) == status


def test_an_unusable_gpu_that_is_required_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    status_of(WITHOUT_GPU, REQUIRE_GPU="1")
    assert "REQUIRE_GPU=1" in capsys.readouterr().err


def test_json_holds_the_whole_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(WITH_GPU, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["driver"]["devices"][0]["name"] == "NVIDIA H200"
    assert data["driver"]["cuda"] == "13.0"
    assert data["frameworks"][0]["facts"]["build"] == "CUDA 13.0"
    assert data["frameworks"][0]["facts"]["products"] == [asdict(ON_GPU[0])]
    assert data["usable_by"] == ["PyTorch"]
    assert data["advice"] == ["TensorFlow is not installed: make install EXTRAS=tensorflow"]


def test_help_explains_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["checkgpu", "--help"])
    assert ended.value.code == 0
    assert "REQUIRE_GPU=1" in capsys.readouterr().out


class FakeTorch:
    """A fake of the module torch; `calls` records devices of products and synchronizations."""

    __version__ = "2.13.0"

    def __init__(self, cuda: str | None, *names: str, broken: str = "") -> None:
        self.version = SimpleNamespace(cuda=cuda, hip=None)
        self.calls: list[object] = []
        self.cuda = SimpleNamespace(
            is_available=lambda: bool(names),
            device_count=lambda: len(names),
            get_device_name=lambda index: names[index],
            synchronize=self.calls.append,
        )
        self._broken = broken

    def ones(self, size: tuple[int, int], device: str) -> str:
        """A matrix, represented by its device."""
        assert size == (1024, 1024)
        if device == self._broken:
            raise RuntimeError(f"no kernel image is available for {device}")
        return device

    def mm(self, left: str, right: str) -> None:
        """The product of two matrices."""
        assert left == right
        self.calls.append(left)


def test_torch_with_cuda_names_each_device() -> None:
    facts = torch_facts(FakeTorch("13.0", "NVIDIA H200", "NVIDIA L4"))
    assert facts == Facts("2.13.0", "CUDA 13.0", gpus=("NVIDIA H200", "NVIDIA L4"))


def test_torch_without_cuda_multiplies_on_the_cpu() -> None:
    torch = FakeTorch(None)
    facts = torch_facts(torch)
    assert facts == replace(CPU_TORCH, products=())
    assert [product.gpu for product in torch_products(torch, facts)] == [None]
    assert set(torch.calls) == {"cpu"}


def test_torch_multiplies_on_each_gpu_and_waits_for_it() -> None:
    torch = FakeTorch("13.0", "NVIDIA H200", "NVIDIA L4")
    products = torch_products(torch, torch_facts(torch))
    assert [product.gpu for product in products] == [0, 1]
    assert torch.calls[:2] == ["cuda:0", 0] and torch.calls[-2:] == ["cuda:1", 1]


def test_a_gpu_that_torch_lists_but_cannot_compute_on_is_an_error() -> None:
    torch = FakeTorch("13.0", "Tesla K80", broken="cuda:0")
    with pytest.raises(RuntimeError, match="no kernel image is available for cuda:0"):
        torch_products(torch, torch_facts(torch))


@pytest.mark.parametrize(
    ("info", "build"),
    [
        ({"is_cuda_build": True, "cuda_version": "12.5.1"}, "CUDA 12.5.1"),
        ({"is_cuda_build": False}, "CPU only"),
    ],
)
def test_tensorflow_names_its_devices(info: dict[str, object], build: str) -> None:
    devices = [SimpleNamespace(name="GPU:0")] if info["is_cuda_build"] else []
    tensorflow = SimpleNamespace(
        __version__="2.21.0",
        sysconfig=SimpleNamespace(get_build_info=lambda: info),
        config=SimpleNamespace(
            list_physical_devices=lambda kind: devices,
            experimental=SimpleNamespace(
                get_device_details=lambda device: {"device_name": "NVIDIA H200"}
            ),
        ),
    )
    names = ("NVIDIA H200",) if devices else ()
    assert tensorflow_facts(tensorflow) == Facts("2.21.0", build, gpus=names)


@pytest.mark.parametrize(
    ("gpus", "devices", "counted"),
    [((), ["CPU:0"], [None]), (("NVIDIA H200", "NVIDIA L4"), ["GPU:0", "GPU:1"], [0, 1])],
)
def test_tensorflow_multiplies_on_each_device_and_waits_for_it(
    gpus: tuple[str, ...], devices: list[str], counted: list[int | None]
) -> None:
    placed: list[str] = []
    calls: list[str] = []

    def matmul(left: str, right: str) -> None:
        assert left == right == placed[-1]  # the matrix is where its product is computed
        calls.append(left)

    def on_device(name: str) -> nullcontext[None]:
        placed.append(name)
        return nullcontext()

    tensorflow = SimpleNamespace(
        device=on_device,
        ones=lambda size: placed[-1],
        linalg=SimpleNamespace(matmul=matmul),
        test=SimpleNamespace(
            experimental=SimpleNamespace(sync_devices=lambda: calls.append("done"))
        ),
    )
    products = tensorflow_products(tensorflow, Facts("2.21.0", "CUDA 12.5.1", gpus=gpus))
    assert [product.gpu for product in products] == counted
    assert list(dict.fromkeys(calls)) == [devices[0], "done", *devices[1:]]
    assert calls.count("done") == len(calls) / 2


@pytest.mark.parametrize(
    ("providers", "build"),
    [
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "CUDA"),
        (["CPUExecutionProvider"], "CPU only"),
    ],
)
def test_onnxruntime_lists_its_providers(providers: list[str], build: str) -> None:
    module = SimpleNamespace(__version__="1.32.0", get_available_providers=lambda: providers)
    assert onnxruntime_facts(module) == Facts("1.32.0", build, providers=tuple(providers))


def test_onnxruntime_falls_to_the_cpu_where_cuda_does_not_load() -> None:
    facts = Facts("1.32.0", "CUDA", providers=("TensorrtExecutionProvider", *CUDA_BEFORE_CPU))
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):  # this build has none
        (product,) = onnxruntime_products(onnxruntime, facts)
    assert product.gpu is None


def test_onnxruntime_with_cuda_multiplies_on_the_gpu_without_moving_matrices() -> None:
    calls: list[object] = []
    binding = SimpleNamespace(
        bind_ortvalue_input=lambda name, value: calls.append((name, value)),
        bind_output=lambda name, memory: calls.append((name, memory)),
        synchronize_outputs=lambda: calls.append("done"),
    )
    session = SimpleNamespace(
        get_providers=lambda: CUDA_BEFORE_CPU,
        io_binding=lambda: binding,
        run_with_iobinding=lambda bound: calls.append("product"),
    )
    fake = SimpleNamespace(
        InferenceSession=lambda model, providers: session,
        OrtValue=SimpleNamespace(ortvalue_from_numpy=lambda array, memory, index: memory),
    )
    facts = Facts("1.32.0", "CUDA", providers=CUDA_BEFORE_CPU)
    (product,) = onnxruntime_products(fake, facts)
    assert product.gpu == 0
    assert calls[:4] == [("matrix", "cuda"), ("product", "cuda"), "product", "done"]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.module)
def test_a_real_framework_multiplies_in_its_own_process(probe: Probe) -> None:
    if find_spec(probe.module) is None:
        pytest.skip(f"{probe.module} is not installed: {probe.install}")
    framework = check_framework(probe, run_command, find_spec)
    assert framework.problem is None and framework.facts is not None
    assert framework.facts.products
    for product in framework.facts.products:
        assert product.milliseconds > 0
        operations = product.milliseconds / 1e3 * product.gflops * 1e9
        assert operations == pytest.approx(2 * 1024**3, rel=0.01)


def test_facts_are_printed_before_the_product_and_again_with_it() -> None:
    done = run_command([sys.executable, "-m", "shared.gpu", "onnxruntime"])
    assert done.returncode == 0, done.stderr
    before, after = map(json.loads, done.stdout.split("\n\n"))
    assert "CPUExecutionProvider" in after["providers"]
    assert len(after["products"]) == 1
    assert before == {**after, "products": []}


def test_nothing_but_the_standard_library_is_imported() -> None:
    heavy = "{'torch', 'tensorflow', 'onnxruntime', 'numpy', 'pydantic'}"
    code = f"import sys, shared.gpu; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    assert run_command([sys.executable, "-c", code]).returncode == 0


def test_a_report_renders_without_any_machine() -> None:
    report = Report(Driver(None, (), problem="none"), (Framework("PyTorch", CUDA_TORCH),))
    assert "PyTorch        2.13.0   CUDA 13.0  NVIDIA H200    0.05 ms" in render(report, [])
