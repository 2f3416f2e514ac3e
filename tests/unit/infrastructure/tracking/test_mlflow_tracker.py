"""What a training run records in a real MLflow on SQLite."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.tracking import MlflowClient
from mlflow.types import DataType, TensorSpec
from mlflow.types.schema import AnyType, Array

from application.ports.tracker import RegisteredVersion, TrainingRecord
from domain.contract import Category, ModelSpec, Number, as_word
from domain.errors import InputError, TrackingError
from infrastructure.packaging.model_package import MANIFEST
from infrastructure.tracking import mlflow_tracker
from infrastructure.tracking.mlflow_tracker import MlflowTracker, open_client
from shared.paths import ROOT
from tests.kinds import KINDS
from tests.petals import SPEC

Golden = Callable[[Path], tuple[list[Any], np.ndarray]]
NAME = "iris_classifier_pipeline"
CANDIDATE = f"models:/{NAME}@candidate"


@dataclass(frozen=True)
class Recorded:
    """A recorded run as MLflow returns it."""

    record: TrainingRecord
    registered: RegisteredVersion
    client: MlflowClient
    run: Run
    model_version: ModelVersion
    model: Path


@pytest.fixture(scope="session", name="recorded")
def _recorded(tracking: Any) -> Recorded:
    MlflowTracker(tracking.uri).warm_up()
    record, registered = tracking.record(NAME, "1.0.0-20260131-120000-3fa9c1")
    client = open_client(tracking.uri)
    return Recorded(
        record,
        registered,
        client,
        client.get_run(registered.run_id),
        client.get_model_version_by_alias(NAME, "candidate"),
        Path(download_artifacts(CANDIDATE)),
    )


def test_the_run_is_finished_and_named_after_the_package(recorded: Recorded) -> None:
    info = recorded.run.info
    assert info.status == "FINISHED"
    assert info.run_name == recorded.record.package_version
    assert info.end_time >= info.start_time > 0


def test_the_run_is_in_the_experiment_of_the_configuration(recorded: Recorded) -> None:
    experiment = recorded.client.get_experiment(recorded.run.info.experiment_id)
    assert experiment.name == "iris_production_pipeline"


def test_the_run_has_parameters_metrics_and_tags(recorded: Recorded) -> None:
    data = recorded.run.data
    assert data.params == {"model.n_estimators": "10", "model.max_depth": "5"}
    assert data.metrics == recorded.record.metrics
    assert data.tags["git_commit"] == "0123abc"


def test_the_run_records_its_data_by_digest(recorded: Recorded) -> None:
    (dataset_input,) = recorded.run.inputs.dataset_inputs
    assert (dataset_input.dataset.name, dataset_input.dataset.digest) == ("petals", "d1" * 16)
    assert "scikit-learn" in dataset_input.dataset.source
    assert "150" in dataset_input.dataset.profile
    assert {tag.key: tag.value for tag in dataset_input.tags} == {"mlflow.data.context": "training"}


def test_the_run_keeps_every_file_of_the_package(recorded: Recorded, tmp_path: Path) -> None:
    kept = Path(
        download_artifacts(
            run_id=recorded.registered.run_id, artifact_path="package", dst_path=str(tmp_path)
        )
    )
    package = recorded.record.package
    names = [path.relative_to(package) for path in package.rglob("*") if path.is_file()]
    assert len(names) > 10
    for name in names:
        assert (kept / name).read_bytes() == (package / name).read_bytes()


def test_artifacts_are_next_to_the_database(recorded: Recorded, tracking: Any) -> None:
    assert recorded.run.info.artifact_uri.startswith((tracking.folder / "mlartifacts").as_uri())


def test_the_registered_version_has_the_alias_candidate(recorded: Recorded) -> None:
    assert recorded.model_version.version == int(recorded.registered.version)
    assert recorded.registered.model_name == NAME
    assert recorded.model_version.run_id == recorded.registered.run_id


def test_the_registered_version_names_the_package(recorded: Recorded) -> None:
    tags = recorded.model_version.tags
    assert tags["package_version"] == recorded.record.package_version
    manifest = (recorded.record.package / MANIFEST).read_bytes()
    assert tags["package_digest"] == hashlib.sha256(manifest).hexdigest()


def test_the_registered_model_has_a_description(recorded: Recorded) -> None:
    assert recorded.client.get_registered_model(NAME).description == SPEC.description


def test_the_signature_follows_the_contract(recorded: Recorded) -> None:
    signature = Model.load(str(recorded.model)).signature
    assert signature is not None
    assert tuple(signature.inputs.input_names()) == SPEC.input_names
    assert signature.inputs.input_types() == [AnyType()] * 4
    assert all(column.required for column in signature.inputs.inputs)
    assert signature.outputs.input_names() == ["prediction", *SPEC.classes]
    assert signature.outputs.input_types() == [DataType.string, *[DataType.float] * 3]


def test_the_input_example_is_read_by_mlflow_and_accepted_by_the_model(recorded: Recorded) -> None:
    example = Model.load(str(recorded.model)).load_input_example(str(recorded.model))
    assert tuple(example.columns) == SPEC.input_names
    np.testing.assert_allclose(example.to_numpy(), recorded.record.example)
    predictions = mlflow.pyfunc.load_model(CANDIDATE).predict(example)
    assert predictions.shape == (2, 4)


def test_requirements_are_the_serving_packages_at_their_installed_versions(
    recorded: Recorded,
) -> None:
    expected = [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "onnxruntime", "pandas")]
    assert (recorded.model / "requirements.txt").read_text("utf-8").splitlines() == expected
    conda = yaml.safe_load((recorded.model / "conda.yaml").read_text("utf-8"))
    assert conda["dependencies"][-1] == {"pip": expected}
    python = yaml.safe_load((recorded.model / "python_env.yaml").read_text("utf-8"))
    assert python["dependencies"] == expected
    assert conda["dependencies"][0] == f"python={python['python']}"


def test_the_candidate_loaded_by_mlflow_gives_the_golden_predictions(
    recorded: Recorded, golden: Golden
) -> None:
    rows, probabilities = golden(recorded.record.package)
    model = mlflow.pyfunc.load_model(CANDIDATE)
    predictions = model.predict(pd.DataFrame(rows, columns=list(SPEC.input_names)))
    np.testing.assert_allclose(predictions[list(SPEC.classes)], probabilities, atol=1e-6)
    assert predictions["prediction"].tolist() == list(SPEC.classes)


def test_columns_may_come_in_any_order_and_others_are_ignored(
    recorded: Recorded, golden: Golden
) -> None:
    rows, probabilities = golden(recorded.record.package)
    frame = pd.DataFrame(rows, columns=list(SPEC.input_names)).iloc[:, ::-1].assign(colour="red")
    predictions = mlflow.pyfunc.load_model(CANDIDATE).predict(frame)
    np.testing.assert_allclose(predictions[list(SPEC.classes)], probabilities, atol=1e-6)


def test_rows_that_break_the_contract_are_refused_through_mlflow_too(recorded: Recorded) -> None:
    model = mlflow.pyfunc.load_model(CANDIDATE)
    frame = pd.DataFrame([[5.1, 3.5, 1.4, -1.0]], columns=list(SPEC.input_names))
    assert recorded.registered.version
    with pytest.raises(InputError, match="row 0, petal_width: -1 cm is outside"):
        model.predict(frame)
    with pytest.raises(MlflowException, match="petal_width"):
        model.predict(frame.drop(columns="petal_width"))


def test_the_registered_model_has_the_served_model_and_no_native_file(
    recorded: Recorded,
) -> None:
    for name in ("model.onnx", "contract.json"):
        made = recorded.record.package / name
        assert (recorded.model / "data" / name).read_bytes() == made.read_bytes()
    assert not list(recorded.model.rglob("*.joblib")) + list(recorded.model.rglob("*.pkl"))


def test_a_later_run_becomes_the_candidate_and_shares_the_experiment(tracking: Any) -> None:
    _, first = tracking.record("iris_twice", "1.0.0-a")
    _, second = tracking.record("iris_twice", "1.0.0-b")
    client = open_client(tracking.uri)
    assert (first.version, second.version) == ("1", "2")
    candidate = client.get_model_version_by_alias("iris_twice", "candidate")
    assert candidate.tags["package_version"] == "1.0.0-b"
    runs = [client.get_run(registered.run_id) for registered in (first, second)]
    assert len({run.info.experiment_id for run in runs}) == 1


def test_recording_leaves_no_temporary_files(
    tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tracking.record("iris_tidy", "1.0.0-a")
    assert not list(tmp_path.iterdir())


def test_a_tracker_and_its_record_can_be_pickled(recorded: Recorded, tracking: Any) -> None:
    sent = (MlflowTracker(tracking.uri), recorded.record)
    assert pickle.loads(pickle.dumps(sent)) == sent


def test_a_started_run_is_running_until_it_is_recorded(tracking: Any) -> None:
    tracker, client = MlflowTracker(tracking.uri), open_client(tracking.uri)
    run_id = tracker.begin("live", "1.0.0-live")
    begun = client.get_run(run_id).info
    assert (begun.status, begun.run_name) == ("RUNNING", "1.0.0-live")
    assert client.get_experiment(begun.experiment_id).name == "live"
    _, registered = tracking.record("iris_live", "1.0.0-live", run_id=run_id)
    assert registered.run_id == run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["holdout_accuracy"] == 0.9
    assert run.data.params["model.n_estimators"] == "10"
    assert len(client.search_runs([begun.experiment_id])) == 1
    assert client.get_model_version_by_alias("iris_live", "candidate").run_id == run_id


def test_epochs_are_steps_in_the_metric_history(tracking: Any) -> None:
    tracker, client = MlflowTracker(tracking.uri), open_client(tracking.uri)
    run_id = tracker.begin("curves", "1.0.0-curves")
    for epoch in range(3):
        tracker.log_epoch(run_id, {"train_loss": 1 / 2**epoch, "valid_loss": 2.0}, epoch)
        history = client.get_metric_history(run_id, "train_loss")  # seen at once, not at the end
        assert [(point.step, point.value) for point in history] == [
            (step, 1 / 2**step) for step in range(epoch + 1)
        ]
    assert len(client.get_metric_history(run_id, "valid_loss")) == 3
    tracking.record("iris_curves", "1.0.0-curves", run_id=run_id)
    assert len(client.get_metric_history(run_id, "train_loss")) == 3


def test_an_unfinished_run_is_marked_as_failed_and_registers_no_version(tracking: Any) -> None:
    tracker, client = MlflowTracker(tracking.uri), open_client(tracking.uri)
    run_id = tracker.begin("nothing", "1.0.0-nothing")
    tracker.log_epoch(run_id, {"train_loss": 1.0}, 0)
    tracker.fail(run_id)
    info = client.get_run(run_id).info
    assert info.status == "FAILED"
    assert info.end_time >= info.start_time
    assert not client.search_model_versions(f"run_id = '{run_id}'")


BEGIN_AND_WAIT = """
import sys
from infrastructure.tracking.mlflow_tracker import MlflowTracker
print(MlflowTracker(sys.argv[1]).begin("lost", "1.0.0-killed"), flush=True)
sys.stdin.read()
"""


def test_the_run_of_a_dead_process_is_ended_and_that_of_a_live_one_continues(
    tracking: Any,
) -> None:
    tracker, client = MlflowTracker(tracking.uri), open_client(tracking.uri)
    live = tracker.begin("lost", "1.0.0-live")
    begun = subprocess.Popen(
        [sys.executable, "-c", BEGIN_AND_WAIT, tracking.uri],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with begun:
        assert begun.stdout is not None
        killed = begun.stdout.readline().strip()
        tracker.warm_up()
        assert client.get_run(killed).info.status == "RUNNING"
        begun.kill()
    host, process, started = client.get_run(live).data.tags["training_process"].split()
    reused = tracker.begin("lost", "1.0.0-reused")
    client.set_tag(reused, "training_process", f"{host} {process} {int(started) - 60}")
    elsewhere = tracker.begin("lost", "1.0.0-elsewhere")
    client.set_tag(elsewhere, "training_process", "another-host 1 1")
    assert set(tracker.end_orphaned_runs()) == {killed, reused}
    assert [client.get_run(run).info.status for run in (live, killed, reused, elsewhere)] == [
        *("RUNNING", "KILLED", "KILLED", "RUNNING")
    ]


@pytest.fixture(name="socket_of_nobody")
def _reserved_socket() -> Iterator[socket.socket]:
    """A reserved port, which refuses connections until a server listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.mark.parametrize("listens", [False, True])
def test_an_unresponsive_tracking_server_is_reported_within_seconds(
    socket_of_nobody: socket.socket, listens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if listens:
        socket_of_nobody.listen()
    monkeypatch.setattr(mlflow_tracker, "_CONNECT_SECONDS", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    address = f"127.0.0.1:{socket_of_nobody.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(TrackingError) as raised:
        MlflowTracker(f"http://me:secret@{address}").warm_up()
    assert time.monotonic() - start < 3
    message = str(raised.value)
    assert message.startswith(f"the tracking server http://{address} does not respond (")
    assert "MLFLOW_TRACKING_URI" in message
    assert "\n" not in message
    assert ("Connection refused" in message) is not listens


def test_a_stopped_database_server_is_reported_within_seconds(
    socket_of_nobody: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    address = f"127.0.0.1:{socket_of_nobody.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(TrackingError) as raised:
        MlflowTracker(f"postgresql://me:secret@{address}/mlflow").warm_up()
    assert time.monotonic() - start < 3
    message = f"the tracking server postgresql://{address}/mlflow does not respond ("
    assert str(raised.value).startswith(message)


def test_a_fit_does_not_start_if_the_server_could_not_record_it(
    socket_of_nobody: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    uri = f"http://127.0.0.1:{socket_of_nobody.getsockname()[1]}"
    with ThreadPoolExecutor(1) as background:
        check = MlflowTracker(uri).warm_up_in(background)
        with pytest.raises(TrackingError, match=f"the tracking server {uri} does not respond"):
            check()


def test_a_fit_does_not_wait_for_mlflow_if_the_database_is_usable(tmp_path: Path) -> None:
    release = Event()
    with ThreadPoolExecutor(1) as background:
        background.submit(release.wait)
        check = MlflowTracker(f"sqlite:///{tmp_path}/mlflow.db").warm_up_in(background)
        check()
        background.shutdown(wait=False, cancel_futures=True)
        release.set()


def test_an_error_before_the_fit_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: MlflowTracker) -> None:
        raise TrackingError("incomplete")

    monkeypatch.setattr(MlflowTracker, "warm_up", fail)
    with ThreadPoolExecutor(1) as background:
        check = MlflowTracker(f"sqlite:///{tmp_path}/mlflow.db").warm_up_in(background)
    with pytest.raises(TrackingError, match="incomplete"):
        check()


def test_a_database_locked_or_damaged_meanwhile_is_reported(
    tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_client(tracking.uri)
    name = f"{tracking.folder}/mlflow.db"

    def fails(reason: str) -> Callable[..., None]:
        def fail(*_: object) -> None:
            raise MlflowException(f"(sqlite3.OperationalError) {reason}", TEMPORARILY_UNAVAILABLE)

        return fail

    monkeypatch.setattr(MlflowClient, "get_run", fails("database is locked\n[SQL: INSERT]"))
    with pytest.raises(TrackingError, match=f"^{name} is locked by another process: [^\n]*$"):
        client.get_run("x")
    monkeypatch.setattr(MlflowClient, "get_run", fails("database disk image is malformed"))
    with pytest.raises(TrackingError, match=f"^{name} is damaged .*mv {name} {name}.broken$"):
        client.get_run("x")
    with pytest.raises(TrackingError, match=f"^MLflow at {tracking.uri}: .*Failed to download"):
        client.download_artifacts(client.create_run("0").info.run_id, "nothing", str(tmp_path))


def test_a_refused_request_keeps_its_code(tracking: Any) -> None:
    with pytest.raises(TrackingError, match="Run with id=x not found") as raised:
        open_client(tracking.uri).get_run("x")
    assert raised.value.code == "RESOURCE_DOES_NOT_EXIST"
    assert pickle.loads(pickle.dumps(raised.value)).code == raised.value.code


@dataclass(frozen=True)
class Registered:
    """A registered model of a kind, loaded from MLflow."""

    spec: ModelSpec
    rows: list[Any]
    predictions: np.ndarray
    uri: str
    folder: Path

    def check(self, predictions: pd.DataFrame) -> None:
        """Compare with the golden predictions."""
        np.testing.assert_allclose(
            predictions[list(self.spec.output_columns)], self.predictions, rtol=1e-5, atol=1e-6
        )
        if self.spec.classes:
            best = [self.spec.classes[best] for best in self.predictions.argmax(axis=1)]
            assert predictions["prediction"].tolist() == best


@pytest.fixture(scope="session", name="register")
def _register(tracking: Any, golden: Golden) -> Callable[[str, str], Registered]:
    """Registers a model in a form of serving and of a kind, once."""
    known: dict[tuple[str, str], Registered] = {}

    def register(form: str, kind: str) -> Registered:
        if (form, kind) not in known:
            name = f"{kind}_{form}"
            record, _ = tracking.record(name, "1.0.0-a", "kinds", kind, form)
            uri = f"models:/{name}@candidate"
            rows, predictions = golden(record.package)
            known[form, kind] = Registered(
                record.spec, rows, predictions, uri, Path(download_artifacts(uri))
            )
        mlflow.set_tracking_uri(tracking.uri)
        return known[form, kind]

    return register


def test_a_model_served_without_onnx_brings_its_record_and_its_libraries(
    register: Callable[[str, str], Registered],
) -> None:
    folder = register("native", "regression").folder
    assert (folder / "data/model.json").exists()
    requirements = (folder / "requirements.txt").read_text("utf-8").splitlines()
    assert [line.partition("==")[0] for line in requirements[4:]] == ["scikit-learn", "skops"]
    assert f"skops=={version('skops')}" in requirements


@pytest.fixture(name="registered", params=["onnx", "native"])
def _registered(request: pytest.FixtureRequest, register: Callable[[str, str], Registered]) -> Any:
    """Registers a model of a kind, in each form of serving."""
    return partial(register, request.param)


Register = Callable[[str], Registered]


def table(made: Registered) -> pd.DataFrame:
    """The golden rows as a data frame, in the types of the signature."""
    frame = pd.DataFrame(made.rows, columns=list(made.spec.input_names))
    for item in made.spec.inputs:  # MLflow converts neither whole numbers nor booleans
        if isinstance(item, Number):
            frame[item.name] = frame[item.name].astype(float)
        if isinstance(item, Category):
            frame[item.name] = [None if v is None else as_word(v) for v in frame[item.name]]
    return frame


def images(made: Registered) -> np.ndarray:
    """The golden images as float32 of shape (n_rows, …)."""
    return np.array([row[0] for row in made.rows], np.float32)


def columns(registered: Registered) -> list[tuple[str, Any, bool]]:
    """Name, type and required flag of each input in the signature."""
    signature = Model.load(str(registered.folder)).signature
    assert signature is not None
    return [(c.name, c.type, c.required) for c in signature.inputs.inputs]


def test_the_signature_names_the_inputs_and_which_are_optional(
    registered: Register,
) -> None:
    assert columns(registered("regression")) == [
        ("area", AnyType(), False),
        ("district", AnyType(), False),
        ("furnished", AnyType(), True),
    ]
    assert columns(registered("categories")) == [
        ("months", AnyType(), True),
        ("plan", AnyType(), True),
    ]
    assert columns(registered("mixed")) == [
        ("weight", AnyType(), True),
        ("image", Array(Array(DataType.double)), True),
        ("box", AnyType(), True),
    ]
    assert columns(registered("text")) == [("review", DataType.string, True)]


def test_the_signature_of_a_tensor_has_its_shape(registered: Register) -> None:
    signature = Model.load(str(registered("tensor").folder)).signature
    assert signature is not None
    assert signature.inputs.inputs == [TensorSpec(np.dtype("float32"), (-1, 3, 4))]
    assert signature.outputs.input_names() == ["prediction", "dark", "bright"]


def test_the_signature_of_a_regression_has_a_value_and_its_interval(
    registered: Register,
) -> None:
    signature = Model.load(str(registered("regression").folder)).signature
    assert signature is not None
    assert signature.outputs.input_names() == ["prediction", "lower", "upper"]
    assert signature.outputs.input_types() == [DataType.float] * 3


@pytest.mark.parametrize("kind", ["regression", "categories", "mixed", "text"])
def test_a_registered_model_reproduces_its_predictions_for_a_data_frame(
    registered: Register, kind: str
) -> None:
    made = registered(kind)
    made.check(mlflow.pyfunc.load_model(made.uri).predict(table(made)))


def test_a_registered_model_of_a_tensor_predicts_for_an_array(registered: Register) -> None:
    made = registered("tensor")
    made.check(mlflow.pyfunc.load_model(made.uri).predict(images(made)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_input_example_of_every_kind_is_read_and_accepted(
    registered: Register, kind: str
) -> None:
    made = registered(kind)
    example = Model.load(str(made.folder)).load_input_example(str(made.folder))
    predictions = mlflow.pyfunc.load_model(made.uri).predict(example)
    assert len(predictions) == 2
    assert set(made.spec.output_columns) <= set(predictions.columns)


def test_missing_and_unseen_values_follow_the_contract(
    registered: Register, fitted: Callable[[str], Any]
) -> None:
    made = registered("regression")
    frame = pd.DataFrame(
        {
            "area": [None, 50.0, 50.0],
            "district": ["east", None, "south"],
            "furnished": ["true", "false", "false"],
        }
    )
    predictions = mlflow.pyfunc.load_model(made.uri).predict(frame)
    expected = fitted("regression").predict_interval(
        made.spec.encode_rows([[None, "east", True], [50, None, False], [50, None, False]])
    )
    np.testing.assert_allclose(predictions, expected, rtol=1e-5)


def test_an_optional_column_may_be_left_out_of_the_frame(
    registered: Register, fitted: Callable[[str], Any]
) -> None:
    made = registered("regression")
    predictions = mlflow.pyfunc.load_model(made.uri).predict(pd.DataFrame({"furnished": ["true"]}))
    expected = fitted("regression").predict_interval(made.spec.encode_rows([[None, None, True]]))
    np.testing.assert_allclose(predictions, expected, rtol=1e-5)


def test_a_word_that_the_contract_does_not_allow_is_refused(registered: Register) -> None:
    made = registered("categories")
    model = mlflow.pyfunc.load_model(made.uri)
    with pytest.raises(InputError, match="row 0, plan: 'gold' is not one of basic, plus"):
        model.predict(pd.DataFrame({"months": [3.0], "plan": ["gold"]}))


ELSEWHERE = """
import json, os, sys
import mlflow, numpy as np, pandas as pd

root, uri, kind, example = sys.argv[1:]
sys.path[:] = [path for path in sys.path if path and os.path.realpath(path) != root]
try:
    import domain
    raise SystemExit(f"the clone is at hand: {domain.__file__}")
except ImportError:
    pass
model = mlflow.pyfunc.load_model(uri)
data = json.loads(example)
predictions = model.predict(np.array(data, np.float32) if kind == "tensor" else pd.DataFrame(data))
module = sys.modules["infrastructure.tracking.served_model"].__file__
print(json.dumps({"predictions": predictions.to_dict("list"), "module": module, "cwd": os.getcwd()}))
"""


@pytest.mark.parametrize("kind", ["regression", "tensor"])
def test_a_registered_model_can_be_loaded_without_a_clone(
    registered: Register, tracking: Any, kind: str, tmp_path: Path
) -> None:
    made = registered(kind)
    data = images(made).tolist() if kind == "tensor" else table(made).to_dict("list")
    program = tmp_path / "elsewhere.py"
    program.write_text(ELSEWHERE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program), str(ROOT), made.uri, kind, json.dumps(data)],
        cwd=tmp_path,
        env={
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "MLFLOW_TRACKING_URI": tracking.uri,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout.splitlines()[-1])
    assert Path(output["cwd"]) == tmp_path
    assert not Path(output["module"]).is_relative_to(ROOT)
    made.check(pd.DataFrame(output["predictions"]))


def test_a_registered_model_accepts_its_training_frame(registered: Register) -> None:
    made = registered("regression")
    dataset = KINDS["regression"].load()
    frame = dataset.inputs.assign(area=dataset.inputs["area"].fillna(50).astype(np.int64))
    model = mlflow.pyfunc.load_model(str(made.folder))
    assert len(model.predict(frame)) == len(frame)
