"""What `make checkgpu` reports on machines with and without a GPU, with fakes for both sides."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace

import pytest

from shared.gpu import (
    Device,
    Driver,
    Facts,
    Framework,
    Report,
    advise,
    check,
    check_driver,
    main,
    onnxruntime_facts,
    render,
    run_command,
    tensorflow_facts,
    torch_facts,
)

ONE_DEVICE = "0, NVIDIA H200, 143771, 9.0, 580.65.06\n"
TWO_DEVICES = ONE_DEVICE + "1, NVIDIA GB10, [N/A], 12.1, 580.65.06\n"

CUDA_TORCH = Facts("2.13.0", "CUDA 13.0", gpus=("NVIDIA H200",))
CPU_TORCH = Facts("2.13.0", "CPU only")
ONNX = Facts("1.32.0", "CPU only", providers=("CPUExecutionProvider",))

Answer = tuple[int, str, str]


@dataclass
class FakeMachine:
    """A driver (None: no nvidia-smi) and installed modules, each with what its process answers."""

    nvidia_smi: Answer | Exception | None = None
    modules: Mapping[str, Answer | Exception] = field(default_factory=dict)

    def find(self, module: str) -> object | None:
        """Like importlib.util.find_spec."""
        return module if module in self.modules else None

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Like run_command."""
        is_driver = command[0] == "nvidia-smi"
        answer = self.nvidia_smi if is_driver else self.modules[command[-1]]
        if answer is None:
            raise FileNotFoundError(command[0])
        if isinstance(answer, Exception):
            raise answer
        return subprocess.CompletedProcess(command, *answer)


def says(facts: Facts) -> Answer:
    """What the process of a framework that works answers, after noise of its own."""
    return 0, f"a banner of the framework\n{json.dumps(asdict(facts))}\n", ""


def table_of(machine: FakeMachine) -> str:
    """The table that a person on that machine reads."""
    report = check(machine.run, machine.find)
    return render(report, advise(report))


def status_of(machine: FakeMachine, *argv: str, **environ: str) -> int:
    """Exit status of the entry point on that machine."""
    return main(argv, environ=environ, run=machine.run, find=machine.find)


WITHOUT_GPU = FakeMachine(modules={"onnxruntime": says(ONNX)})
WITH_GPU = FakeMachine((0, ONE_DEVICE, ""), {"torch": says(CUDA_TORCH), "onnxruntime": says(ONNX)})


def test_a_machine_without_a_driver_is_reported_as_such() -> None:
    table = table_of(WITHOUT_GPU)
    assert "no GPU (nvidia-smi not found)" in table
    assert "GPU usable: no" in table


def test_one_device_is_read_with_name_memory_and_compute_capability() -> None:
    assert check_driver(WITH_GPU.run) == Driver(
        "580.65.06", (Device(0, "NVIDIA H200", 143771, "9.0"),)
    )
    assert "0: NVIDIA H200, 140 GiB, compute 9.0" in table_of(WITH_GPU)


def test_two_devices_take_a_line_each_and_what_the_driver_does_not_tell_is_left_out() -> None:
    machine = FakeMachine((0, TWO_DEVICES, ""))
    assert check_driver(machine.run).devices[1] == Device(1, "NVIDIA GB10", None, "12.1")
    first, second = (line for line in table_of(machine).splitlines() if ": NVIDIA " in line)
    assert first.index("0: ") == second.index("1: ")
    assert second.strip() == "1: NVIDIA GB10, compute 12.1"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((9, "NVIDIA-SMI has failed.\n", ""), "NVIDIA-SMI has failed"),
        ((2, "", 'Field "compute_cap" is not valid.'), 'Field "compute_cap" is not valid'),
        ((6, "", ""), "nvidia-smi ended with 6"),
        ((0, "", ""), "nvidia-smi answered ''"),
        ((0, "No devices were found", ""), "nvidia-smi answered 'No devices were found'"),
        (PermissionError("denied"), "nvidia-smi did not run: denied"),
        (subprocess.TimeoutExpired("nvidia-smi", 180), "timed out after 180 seconds"),
    ],
)
def test_a_driver_that_fails_is_reported_with_its_reason(
    answer: Answer | Exception, problem: str
) -> None:
    driver = check_driver(FakeMachine(answer).run)
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


def test_a_cpu_build_is_in_order_where_there_is_no_gpu() -> None:
    assert "PyTorch is" not in table_of(FakeMachine(modules={"torch": says(CPU_TORCH)}))


@pytest.mark.parametrize(
    ("module", "build", "mend"),
    [
        ("torch", "CPU only", "uninstall --yes torch && make install EXTRAS=torch"),
        ("torch", "CUDA 13.0", "update the driver (580.65.06)"),
        ("tensorflow", "CPU only", "uninstall --yes tensorflow && make install EXTRAS=tensorflow"),
        ("tensorflow", "CUDA 12.5", "pip install 'tensorflow[and-cuda]'"),
    ],
)
def test_a_framework_that_misses_the_gpu_is_told_how_to_find_it(
    module: str, build: str, mend: str
) -> None:
    table = table_of(FakeMachine((0, ONE_DEVICE, ""), {module: says(Facts("2.0", build))}))
    assert f"is built for {'the CPU only' if build == 'CPU only' else build}" in table
    assert mend in table
    assert "GPU usable: no" in table


@pytest.mark.parametrize(
    ("answer", "problem"),
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
def test_a_broken_framework_is_reported_and_the_others_still_answer(
    answer: Answer | Exception, problem: str
) -> None:
    table = table_of(FakeMachine(modules={"torch": answer, "onnxruntime": says(ONNX)}))
    assert "PyTorch is installed but broken" in table
    assert problem in table
    assert "CPUExecutionProvider" in table


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
    assert data["frameworks"][0]["facts"]["build"] == "CUDA 13.0"
    assert data["usable_by"] == ["PyTorch"]
    assert data["advice"] == ["TensorFlow is not installed: make install EXTRAS=tensorflow"]


def test_help_explains_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "REQUIRE_GPU=1" in capsys.readouterr().out


def fake_torch(
    cuda: str | None, devices: Sequence[str], ones: Callable[..., object] | None = None
) -> SimpleNamespace:
    """Stands in for the module torch."""
    return SimpleNamespace(
        __version__="2.13.0",
        version=SimpleNamespace(cuda=cuda, hip=None),
        cuda=SimpleNamespace(
            is_available=lambda: bool(devices),
            device_count=lambda: len(devices),
            get_device_name=lambda index: devices[index],
        ),
        ones=ones or (lambda _size, device: SimpleNamespace(item=lambda: 1.0)),
    )


def test_torch_with_cuda_names_each_device() -> None:
    facts = torch_facts(fake_torch("13.0", ["NVIDIA H200", "NVIDIA L4"]))
    assert facts == Facts("2.13.0", "CUDA 13.0", gpus=("NVIDIA H200", "NVIDIA L4"))


def test_torch_without_cuda_computes_on_the_cpu() -> None:
    assert torch_facts(fake_torch(None, [])) == CPU_TORCH


def test_a_gpu_that_torch_lists_but_cannot_compute_on_is_an_error() -> None:
    def no_kernel(_size: int, device: str) -> object:
        raise RuntimeError(f"no kernel image is available for {device}")

    with pytest.raises(RuntimeError, match="no kernel image is available for cuda:0"):
        torch_facts(fake_torch("13.0", ["Tesla K80"], no_kernel))


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
    ("providers", "build"),
    [
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "CUDA"),
        (["CPUExecutionProvider"], "CPU only"),
    ],
)
def test_onnxruntime_lists_its_providers(providers: list[str], build: str) -> None:
    module = SimpleNamespace(__version__="1.32.0", get_available_providers=lambda: providers)
    assert onnxruntime_facts(module) == Facts("1.32.0", build, providers=tuple(providers))


def test_a_real_framework_answers_from_its_own_process() -> None:
    done = run_command([sys.executable, "-m", "shared.gpu", "--probe", "onnxruntime"])
    assert done.returncode == 0, done.stderr
    assert "CPUExecutionProvider" in json.loads(done.stdout.splitlines()[-1])["providers"]


def test_nothing_but_the_standard_library_is_imported() -> None:
    heavy = "{'torch', 'tensorflow', 'onnxruntime', 'numpy', 'pydantic'}"
    code = f"import sys, shared.gpu; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    assert run_command([sys.executable, "-c", code]).returncode == 0


def test_a_report_renders_without_any_machine() -> None:
    report = Report(Driver(None, (), "no driver"), (Framework("PyTorch", CUDA_TORCH),))
    assert "PyTorch        2.13.0   CUDA 13.0  NVIDIA H200" in render(report, [])
