"""The container image of the champion's Bento: layers, contents, predictions, settings, a push."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from infrastructure.deployment.golden import Golden, check_golden_predictions, golden_of
from infrastructure.registry.ledger import FileLedger
from shared.paths import ROOT
from tests.container_engine import (
    BASE,
    PYTHON,
    Engine,
    EngineError,
    Registry,
    engine_or_skip,
    serve_registry,
)
from tests.kubernetes_tools import kubernetes_tools
from tests.served import Home, free_port

REGRESSIONS = [  # read, not imported: the library of a model may be missing
    path.stem for path in (ROOT / "domain/models").glob("*.py") if "Quantity(" in path.read_text()
]
READY_SECONDS = 60.0
PORT = 3000
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
TRAINING = (
    *("sklearn", "mlflow", "pandas", "torch", "tensorflow", "keras", "whisper"),
    *("joblib", "skops", "skl2onnx", "tf2onnx"),
)


@dataclass(frozen=True)
class Built:
    """A Bento and the home in which it was built."""

    home: Path
    model: str
    receipt: dict[str, Any]
    golden: Golden

    @property
    def receipts(self) -> Path:
        """Folder of the receipts of its model."""
        return self.home / "build" / self.model

    @property
    def image_receipt(self) -> Path:
        """The receipt of its image."""
        return self.receipts / "containerize.json"

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run make in this home; the Bento is not rebuilt even if a source has changed."""
        built = self.receipts / "bento-build.json"
        return _make(self.home, self.model, f"--assume-old={built}", *arguments, **environment)


@dataclass(frozen=True)
class Image:
    """An image, and the engine that has it."""

    engine: Engine
    name: str
    receipt: dict[str, Any]


@dataclass(frozen=True)
class Container:
    """A ready container, and its port on this machine."""

    engine: Engine
    name: str
    port: int

    def run(self, *command: str, user: str = "") -> str:
        """Run a command in the container; returns its output."""
        options = ("--user", user) if user else ()
        return self.engine.run("exec", *options, self.name, *command)


@pytest.fixture(scope="module", name="engine")
def _engine() -> Iterator[Engine]:
    yield from engine_or_skip()


GetBuilt = Callable[[str], Built]


@pytest.fixture(scope="module", name="get_built")
def _get_built(
    get_home: Callable[[str], Home], tmp_path_factory: pytest.TempPathFactory
) -> GetBuilt:
    """A model's Bento in a home of its own."""

    def get(model: str) -> Built:
        home = get_home(model).copy(tmp_path_factory.mktemp("container") / "home")
        receipts = home.receipts_of(model)
        receipt = json.loads((receipts / "bento-build.json").read_text(encoding="utf-8"))
        return Built(home.folder, model, receipt, golden_of(receipts / "bento"))

    return get


@pytest.fixture(scope="module", name="built")
def _built(get_built: GetBuilt) -> Built:
    return get_built("petals")


@pytest.fixture(scope="module", name="image")
def _image(engine: Engine, built: Built) -> Iterator[Image]:
    with _containerize(engine, built) as image:
        yield image


@pytest.fixture(scope="module", name="registry")
def _registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    if not shutil.which("docker-registry"):
        pytest.skip("no image registry: install Debian's docker-registry")
    with serve_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module", name="served")
def _served(image: Image) -> Iterator[Container]:
    with _run(image) as container:
        yield container


@pytest.mark.nightly
def test_the_receipt_names_the_image_and_its_engine(image: Image, built: Built) -> None:
    assert image.receipt["engine"] == image.engine.name
    assert image.receipt["image"] == built.receipt["bento_tag"]
    assert image.receipt["version"] == built.receipt["version"]
    found = _inspect(image.engine, image.name)
    assert image.receipt["digest"].removeprefix("sha256:") == found["Id"].removeprefix("sha256:")
    assert image.receipt["size"] == found["Size"] < 600e6
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == built.receipt["version"]
    assert labels["org.opencontainers.image.revision"] == image.receipt["revision"]
    assert labels["org.opencontainers.image.base.digest"] == image.receipt["base_digest"]
    assert labels["mlops.package.digest"] == f"sha256:{image.receipt['package_digest']}"


@pytest.mark.nightly
def test_the_bill_of_materials_lists_what_is_installed_in_the_image(
    served: Container, built: Built
) -> None:
    script = (
        "from importlib.metadata import distributions as found; "
        "print(*sorted(f'{each.name}=={each.version}' for each in found()))"
    )
    bill = json.loads((built.receipts / "sbom.cdx.json").read_text(encoding="utf-8"))
    libraries = [each for each in bill["components"] if each["type"] == "library"]
    listed = {f"{each['name']}=={each['version']}" for each in libraries}
    installed = served.run("python", "-c", script).split()
    assert {re.sub("[-_.]+", "-", each.partition("==")[0]).lower() for each in installed} == {
        each.partition("==")[0] for each in listed
    }
    assert len(installed) == len(listed) > 30
    licences = (built.receipts / "licences.tsv").read_text(encoding="utf-8").splitlines()
    assert len(licences) == len(listed) + 1


@pytest.mark.nightly
def test_the_image_has_no_compiler_and_no_pip_in_its_environment(served: Container) -> None:
    script = "import shutil; print(*filter(shutil.which, ['gcc', 'cc', 'make', 'git']))"
    assert served.run("python", "-c", script).split() == []
    assert served.run("find", "/app/.venv", "-name", "pip*", "-path", "*/bin/*").split() == []
    folders = ("/root", "/home", "/tmp", "/app")
    assert served.run("find", *folders, "-name", "*.whl", user="0").split() == []


@pytest.mark.nightly
@pytest.mark.parametrize("variable", ["PORT", "AIP_HTTP_PORT"])
def test_the_health_check_asks_the_port_on_which_the_container_listens(
    image: Image, variable: str
) -> None:
    with _run(image, listens=8080, port_variable=variable) as container:
        found = _inspect(image.engine, image.name)
        check = (found.get("Healthcheck") or found["Config"]["Healthcheck"])["Test"]
        assert check[0] == "CMD"
        container.run(*check[1:])
        with pytest.raises(EngineError):  # nothing listens there
            image.engine.run("exec", "--env", f"{variable}=9", container.name, *check[1:])


@pytest.mark.nightly
def test_a_new_model_of_the_same_code_changes_only_the_last_layer(
    image: Image,
    built: Built,
    registry: Registry,
    get_home: Callable[[str], Home],
    tmp_path: Path,
) -> None:
    _push(image, built, registry)
    before = registry.size
    home = get_home(built.model).copy(tmp_path / "home")
    done = home.make("-B", "bento-build", f"MODEL={built.model}")
    assert done.returncode == 0, done.stdout + done.stderr
    receipt = json.loads((home.receipts_of(built.model) / "bento-build.json").read_text())
    assert receipt["version"] != built.receipt["version"]
    other = replace(built, home=home.folder, receipt=receipt)
    with _containerize(image.engine, other) as new:
        first, second = (_inspect(image.engine, each.name) for each in (image, new))
        assert first["RootFS"]["Layers"][:-1] == second["RootFS"]["Layers"][:-1]
        assert first["RootFS"]["Layers"][-1] != second["RootFS"]["Layers"][-1]
        _push(new, other, registry)
    assert 0 < registry.size - before < 2e6  # the model, the list of layers and the configuration


@pytest.mark.nightly
def test_a_push_puts_the_digest_of_the_registry_on_record(
    image: Image, built: Built, registry: Registry
) -> None:
    receipt = _push(image, built, registry)
    name = built.receipt["model_name"]
    reference = f"{registry.address}/team/{name}@{receipt['digest']}"
    assert receipt["reference"] == reference
    entry = FileLedger(built.home / "ledger.jsonl").entries()[-1]
    assert (entry.event, entry.version) == ("push", built.receipt["version"])
    assert entry.details["digest"] == receipt["digest"]
    assert _digest_in(registry, f"team/{name}", built.receipt["version"]) == receipt["digest"]
    engine = replace(image.engine, environment={**image.engine.environment, **registry.environment})
    engine.run("pull", "--quiet", reference, seconds=300)
    labels = _inspect(engine, reference)["Config"]["Labels"]
    assert labels["mlops.package.digest"] == f"sha256:{image.receipt['package_digest']}"


@pytest.mark.nightly
def test_an_image_can_be_built_on_a_base_by_its_digest(
    image: Image, built: Built, registry: Registry
) -> None:
    engine = replace(image.engine, environment={**image.engine.environment, **registry.environment})
    base = f"{registry.address}/library/python:{PYTHON}-slim"
    engine.run("tag", BASE, base)
    engine.run("push", "--quiet", base, seconds=300)
    digest = _digest_in(registry, "library/python", f"{PYTHON}-slim")
    with _containerize(engine, built, f"{base}@{digest}", **registry.environment) as pinned:
        assert pinned.receipt["base_digest"] == digest
        labels = _inspect(engine, pinned.name)["Config"]["Labels"]
        assert labels["org.opencontainers.image.base.name"] == base
        assert labels["org.opencontainers.image.base.digest"] == digest


@pytest.mark.nightly
def test_the_container_reproduces_golden_predictions_and_counts_only_traffic(
    served: Container, built: Built
) -> None:
    version, rows = built.receipt["version"], built.golden.rows
    before = _total(served, "ml_predictions_total", version)
    check_golden_predictions(served.port, built.golden, version)
    assert _total(served, "ml_synthetic_requests_total", version) == 1
    response = httpx.post(f"http://127.0.0.1:{served.port}/predict", json=rows)
    assert response.status_code == 200
    expected = before + len(rows)
    _wait_until(
        lambda: _total(served, "ml_predictions_total", version) == expected,
        "the metrics count the traffic",
    )


@pytest.mark.nightly
def test_the_image_has_no_training_library(served: Container) -> None:
    script = (
        "import sys; from importlib.util import find_spec; print(*filter(find_spec, sys.argv[1:]))"
    )
    found = served.run("python", "-c", script, "onnxruntime", *TRAINING)
    assert found.split() == ["onnxruntime"]


@pytest.mark.nightly
def test_the_image_has_the_served_model_and_not_the_native_one(served: Container) -> None:
    wanted = ("-name", "model.onnx", "-o", "-name", "*.joblib")
    found = served.run("find", "/", "-xdev", *wanted, user="0").split()
    assert [Path(path).name for path in found] == ["model.onnx"]


@pytest.mark.nightly
def test_the_image_sends_no_usage_data(served: Container) -> None:
    assert served.run("printenv", "BENTOML_DO_NOT_TRACK").strip() == "True"


@pytest.mark.nightly
def test_the_server_does_not_run_as_root(served: Container) -> None:
    assert int(served.run("stat", "--format=%u", "/proc/1")) != 0
    assert served.run("id", "--user").strip() != "0"


@pytest.mark.nightly
@pytest.mark.parametrize("name", REGRESSIONS)
def test_a_regression_reproduces_golden_predictions(
    image: Image, get_built: GetBuilt, name: str
) -> None:
    other = get_built(name)
    with _containerize(image.engine, other) as its_image, _run(its_image) as container:
        check_golden_predictions(container.port, other.golden, other.receipt["version"])


@pytest.mark.nightly
def test_a_locked_down_container_needs_one_writable_folder(image: Image, built: Built) -> None:
    locked = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    state = ("--tmpfs=/state:mode=1777", "--env=BENTOML_HOME=/state", "--env=TMPDIR=/state")
    with _run(image, *locked, *state, *_memory_limit(image)) as container:
        check_golden_predictions(container.port, built.golden, built.receipt["version"])
        assert "predictions.db" in container.run("ls", "/state").split()


@pytest.mark.nightly
def test_the_container_listens_on_the_port_that_vertex_ai_sets(image: Image, built: Built) -> None:
    with _run(image, listens=8080, port_variable="AIP_HTTP_PORT") as container:
        check_golden_predictions(container.port, built.golden, built.receipt["version"])


@pytest.mark.nightly
def test_a_stopped_container_exits_by_itself_with_0(image: Image) -> None:
    with _run(image) as container:
        image.engine.run("stop", "-t", "30", container.name)
        state = image.engine.run("inspect", "--format={{.State.ExitCode}}", container.name)
        assert state.strip() == "0"  # 137 if it was killed


@pytest.mark.nightly
def test_the_pod_of_the_chart_runs_and_stops_by_itself(
    image: Image, built: Built, nightly: bool, tmp_path: Path
) -> None:
    if image.engine.name != "podman":
        pytest.skip("only podman can run a Pod")
    port, values = free_port(), {"image": image.name, "drainSeconds": 1}
    resources = kubernetes_tools(nightly).render(values, "petals")
    (template,) = [each["spec"]["template"] for each in resources if each["kind"] == "Deployment"]
    template["metadata"]["name"] = "petals"
    (container,) = template["spec"]["containers"]
    # podman would run curl in the container for them
    paths = [container.pop(kind)["httpGet"]["path"] for kind in PROBES]
    del container["ports"]  # it gets the network of this machine, where any engine works
    container["env"] += [{"name": "PORT", "value": str(port)}]
    file = tmp_path / "pod.yaml"
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    file.write_text(yaml.safe_dump(pod), encoding="utf-8")
    image.engine.run("kube", "play", "--network=host", str(file))
    try:
        running = Container(image.engine, "petals-service", port)
        _wait_until(lambda: None not in [_get(running, path) for path in paths], "probes succeed")
        check_golden_predictions(port, built.golden, built.receipt["version"])
        assert int(running.run("id", "--user")) == template["spec"]["securityContext"]["runAsUser"]
        grace = template["spec"]["terminationGracePeriodSeconds"]
        image.engine.run("stop", "-t", str(grace), running.name)
        state = image.engine.run("inspect", "--format={{.State.ExitCode}}", running.name)
        assert state.strip() == "0"  # 137 if it was killed
    finally:
        image.engine.run("kube", "down", str(file))


@pytest.mark.nightly
def test_a_stopping_container_loses_no_request(image: Image, built: Built) -> None:
    rows, statuses, failures = built.golden.rows, Counter[int](), []

    def send(port: int) -> None:
        """Send requests as a proxy does: until the service says that it is not ready."""
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            while client.get("/readyz").status_code == 200:
                try:
                    statuses[client.post("/predict", json=rows).status_code] += 1
                except httpx.HTTPError as error:
                    failures.append(error)

    with (
        _run(image, "--env=SERVING_DRAIN_SECONDS=2") as container,
        ThreadPoolExecutor(max_workers=4) as clients,
    ):
        sent = [clients.submit(send, container.port) for _ in range(4)]
        _wait_until(lambda: statuses[200] > 100, "requests are answered")
        before = statuses[200]
        image.engine.run("stop", "-t", "30", container.name)
        for each in sent:
            each.result()
        assert not failures
        assert set(statuses) == {200} and statuses[200] > before
        state = image.engine.run("inspect", "--format={{.State.ExitCode}}", container.name)
        assert state.strip() == "0"


def test_without_an_engine_the_build_fails_with_3_and_says_what_to_do(tmp_path: Path) -> None:
    receipt = tmp_path / "containerize.json"
    module = (sys.executable, "-m", "infrastructure.cli", "containerize")
    done = subprocess.run(
        [*module, "--bento", str(tmp_path / "bento-build.json"), "--receipt", str(receipt)],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "no container engine works: install and start Docker or Podman" in done.stderr
    assert "Traceback" not in done.stderr
    assert not receipt.exists()


def test_make_with_a_missing_engine_fails_and_leaves_no_receipt(built: Built) -> None:
    built.image_receipt.write_text("{}", encoding="utf-8")  # from an earlier run
    done = built.make("containerize", "ENGINE=nothing")
    assert done.returncode == 2
    assert (
        "the container engine nothing does not work: start it, or choose one of: docker, podman"
        in done.stderr
    )
    assert "containerize.json] Error 3" in done.stderr
    assert not built.image_receipt.exists()


def test_an_image_that_cannot_be_built_is_an_error_and_leaves_no_receipt(
    built: Built, tmp_path: Path
) -> None:
    engine = tmp_path / "podman"
    engine.write_text('#!/bin/sh\n[ "$1" = info ]\n', encoding="utf-8")  # cannot build
    engine.chmod(0o755)
    built.image_receipt.write_text("{}", encoding="utf-8")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = built.make("--always-make", "containerize", "ENGINE=podman", PATH=path)
    assert done.returncode == 2
    assert "podman could not build the image of petals_pipeline:" in done.stderr
    assert "containerize.json] Error 1" in done.stderr
    assert not built.image_receipt.exists()


@contextmanager
def _containerize(
    engine: Engine, built: Built, base: str = BASE, **environment: str
) -> Iterator[Image]:
    variables = {**engine.build_environment, **environment}
    done = built.make("containerize", f"ENGINE={engine.name}", f"BASE={base}", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    receipt = json.loads(built.image_receipt.read_text(encoding="utf-8"))
    try:
        yield Image(engine, receipt["image"], receipt)
    finally:
        engine.run("rmi", "--force", receipt["image"])


def _push(image: Image, built: Built, registry: Registry) -> dict[str, Any]:
    variables = {**image.engine.build_environment, **registry.environment}
    done = built.make("push", f"REGISTRY={registry.address}/team", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    receipt: dict[str, Any] = json.loads((built.receipts / "push.json").read_text(encoding="utf-8"))
    return receipt


def _digest_in(registry: Registry, name: str, tag: str) -> str:
    accepted = (
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
    )
    response = httpx.head(
        f"http://{registry.address}/v2/{name}/manifests/{tag}",
        headers={"Accept": ", ".join(accepted)},
    )
    return response.headers["Docker-Content-Digest"]


def _inspect(engine: Engine, image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine.run("image", "inspect", image))[0]
    return found


def _memory_limit(image: Image) -> list[str]:
    """A limit of memory, if the control groups of this machine allow one."""
    limit = ["--memory=512m"]
    try:
        image.engine.run("run", "--rm", *limit, "--entrypoint=true", image.name)
    except EngineError:
        return []
    return limit


def _make(
    home: Path, model: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    # on the command line, where they override a .env file
    variables = {
        "MODEL": model,
        "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
        "MODEL_REGISTRY_DIR": str(home / "packages"),
        "BENTOML_HOME": str(home / "bentoml"),
        "RECEIPTS_DIR": str(home / "build"),
        "RELEASES_DIR": str(home / "releases"),
        "LEDGER": str(home / "ledger.jsonl"),
    }
    outer = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")  # of the make that runs tests
    return subprocess.run(
        ["make", *arguments, *(f"{name}={value}" for name, value in variables.items())],
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if k not in outer}, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@contextmanager
def _run(
    image: Image, *options: str, listens: int = PORT, port_variable: str | None = None
) -> Iterator[Container]:
    """Run a container until the block ends.

    Args:
        listens: the port in the container, if it has its own network.
        port_variable: environment variable that sets this port; None if it is the default.
    """
    engine = image.engine
    shared = engine.network == "host"
    inside = free_port() if shared else listens
    network = [f"--network={engine.network}"] if engine.network else []
    if not shared:
        network.append(f"--publish=127.0.0.1::{inside}")
    if port_variable or shared:
        network.append(f"--env={port_variable or 'PORT'}={inside}")
    name = engine.run("run", "--detach", *network, *options, image.name).strip()
    try:
        port = inside if shared else int(engine.run("port", name, str(inside)).split(":")[-1])
        container = Container(engine, name, port)
        try:
            _wait_until(lambda: _get(container, "/readyz") is not None, "the container is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}: {engine.run('logs', name)}") from error
        yield container
    finally:
        engine.run("rm", "--force", "--volumes", name)


def _get(container: Container, path: str) -> str | None:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{container.port}{path}", timeout=5
        ) as response:
            text: str = response.read().decode()
            return text
    except (urllib.error.URLError, OSError):
        return None


def _total(container: Container, name: str, version: str) -> float:
    families = text_string_to_metric_families(_get(container, "/metrics") or "")
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and sample.labels["version"] == version
    )


def _wait_until(condition: Callable[[], bool], description: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        message = f"not true within {READY_SECONDS:.0f} s: {description}"
        assert time.monotonic() < deadline, message
        time.sleep(0.1)
