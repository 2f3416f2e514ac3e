"""The whole chain of make in a temporary home: MLflow on SQLite, BentoML's store, receipts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from application.training.config import TrainingConfig
from infrastructure.packaging.model_package import MANIFEST, ModelPackage
from infrastructure.registry.ledger import FileLedger
from infrastructure.registry.mlflow_registry import CANDIDATE, CHAMPION, PREVIOUS
from infrastructure.tracking.mlflow_tracker import open_client
from shared.paths import ROOT
from tests.fakes import PETALS_CONFIG
from tests.packages import open_recorded
from tests.served import Home, MakeHome, copy_with_petals

NAME = "petals_pipeline"
PIPELINE = "application/training/pipelines/iris_training_pipeline.py"
VALIDATE = "application/validation/model_validation/validate_model.py"


def receipt(home: Home, step: str) -> Any:
    """The receipt of a step."""
    return json.loads((home.receipts / f"{step}.json").read_text(encoding="utf-8"))


def aliases(home: Home) -> dict[str, str]:
    """Versions by alias."""
    client = open_client(home.environment["MLFLOW_TRACKING_URI"])
    return {k: str(v) for k, v in client.get_registered_model(NAME).aliases.items()}


def stored(home: Home) -> list[str]:
    """Versions in the Bento store."""
    folder = Path(home.environment["BENTOML_HOME"]) / "models" / NAME
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def forge(package: Path, target: Path, name: str, data: Any) -> Path:
    """Copy a package with one changed file and a matching manifest: only a gate can refuse it."""
    shutil.copytree(package, target)
    changed = target / name
    changed.chmod(0o644)
    changed.write_text(json.dumps(data), encoding="utf-8")
    manifest = target / MANIFEST
    manifest.chmod(0o644)
    digest = hashlib.sha256(changed.read_bytes()).hexdigest()
    lines = manifest.read_text(encoding="utf-8").splitlines()
    kept = [f"{digest}  {name}" if line.endswith(f"  {name}") else line for line in lines]
    manifest.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return target


@pytest.fixture(name="own")
def fixture_own(home: Home, tmp_path: Path) -> Home:
    """A copy of the home that a test may change."""
    return home.copy(tmp_path / "own")


def test_training_records_everything_that_validation_needs(home: Home) -> None:
    trained = receipt(home, "train")
    client = open_client(home.environment["MLFLOW_TRACKING_URI"])
    run = client.get_run(trained["run_id"])
    assert client.get_experiment(run.info.experiment_id).name == "petals_experiment"
    assert run.data.params["model.n_estimators"] == "100"
    assert run.data.metrics["holdout_accuracy"] == pytest.approx(trained["accuracy"])
    assert run.inputs.dataset_inputs[0].dataset.digest
    files = {item.path for item in client.list_artifacts(run.info.run_id, "package/figures")}
    assert "package/figures/confusion_matrix.png" in files
    version = client.get_model_version_by_alias(NAME, CANDIDATE)
    assert version.tags["package_version"] == trained["version"]


def test_the_package_has_the_documented_files(home: Home) -> None:
    package = ModelPackage(Path(receipt(home, "train")["package"]))
    names = {path.name for path in package.folder.iterdir()}
    assert names >= {
        *("model.onnx", "model.joblib", "contract.json", "holdout.json", "profile.json"),
        *("golden.json", "metrics.json", "card.md", "figures", "provenance.json", MANIFEST),
    }
    provenance = package.read_json("provenance.json")
    assert (
        provenance["lock_sha256"] == hashlib.sha256((ROOT / "poetry.lock").read_bytes()).hexdigest()
    )
    written = json.loads(PETALS_CONFIG.read_text(encoding="utf-8"))
    assert TrainingConfig.model_validate(provenance["config"]) == TrainingConfig.read(PETALS_CONFIG)
    recorded = provenance["config"]
    assert {key: recorded[key] for key in ("model", "version")} == {
        key: written[key] for key in ("model", "version")
    }
    none = dict.fromkeys(("split", "source", "labelled", "reference_rows"))
    assert recorded["data"] == written["data"] | none
    measured = package.read_json("metrics.json")
    assert 0 <= measured["parity_largest_difference"] < 1e-5
    assert measured["holdout_rows"] == 30


def test_an_accepted_candidate_becomes_champion_and_is_added_to_the_bento_store(home: Home) -> None:
    judged = receipt(home, "validate")
    assert aliases(home)[CHAMPION] == str(judged["registry_version"])
    assert all(verdict["accepted"] for verdict in judged["verdicts"])
    assert stored(home) == [judged["version"]]
    folder = Path(home.environment["BENTOML_HOME"]) / "models" / NAME / judged["version"]
    model = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    assert set(model["labels"]) == {"owner", "stage", "accuracy"}
    assert model["metadata"]["package_version"] == judged["version"]


def test_the_bento_contains_the_champion_and_no_training_library(
    home: Home, exported_bento: Path
) -> None:
    built = receipt(home, "bento-build")
    assert built["version"] == receipt(home, "validate")["version"]
    assert built["bento_tag"] == built["model_tag"]
    info = yaml.safe_load((exported_bento / "bento.yaml").read_text(encoding="utf-8"))
    (service,) = info["services"]
    assert [model["tag"] for model in service["models"]] == [built["model_tag"]]
    requirements = (exported_bento / "env/python/requirements.txt").read_text(encoding="utf-8")
    required = {line.partition("==")[0] for line in requirements.split()}
    assert required >= {"bentoml", "msgspec", "numpy", "onnxruntime", "sqlalchemy", "starlette"}
    assert not required & {"scikit-learn", "pandas", "mlflow", "skl2onnx", "onnx", "matplotlib"}
    assert not list(exported_bento.rglob("*.joblib"))
    assert not (exported_bento / "src/domain/models/petals.py").exists()


def test_an_unchanged_step_is_skipped(home: Home) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in home.receipts.glob("*.json")}
    again = home.make("bento-build")
    assert again.returncode == 0, again.stderr
    assert {p.name: p.stat().st_mtime_ns for p in home.receipts.glob("*.json")} == before


def test_a_second_champion_makes_the_first_one_previous(home: Home, second_home: Home) -> None:
    first, now = aliases(home)[CHAMPION], aliases(second_home)
    assert now[PREVIOUS] == first
    assert now[CHAMPION] == now[CANDIDATE] != first


def test_the_same_data_and_seed_give_the_same_predictions(home: Home, candidate_home: Home) -> None:
    homes = (home, candidate_home)
    first, second = (open_recorded(Path(receipt(each, "train")["package"])) for each in homes)
    assert first.folder.name != second.folder.name
    rows = np.random.default_rng(0).uniform(0.1, 8, (500, 4)).astype(np.float32)
    predictions = [package.load_native().predict_proba(rows) for package in (first, second)]
    np.testing.assert_array_equal(*predictions)
    assert first.served.read_bytes() == second.served.read_bytes()
    assert first.read_json("holdout.json") == second.read_json("holdout.json")


def test_quality_below_the_threshold_is_refused_and_changes_no_alias(
    candidate_home: Home, tmp_path: Path
) -> None:
    own = candidate_home.copy(tmp_path / "own")
    before, in_store = aliases(own), stored(own)
    assert before[CANDIDATE] != before[CHAMPION]
    refused = own.make("validate", "THRESHOLD=0.99")
    assert refused.returncode != 0
    assert "quality: hold-out accuracy" in refused.stdout
    assert "threshold 0.990" in refused.stdout
    assert "is refused by quality" in refused.stderr
    assert aliases(own) == before
    assert stored(own) == in_store
    assert not (own.receipts / "validate.json").exists()


@dataclass(frozen=True)
class Judged:
    """A home whose package was validated twice more: accepted, as the newest one in a folder of
    packages, then refused by a threshold."""

    home: Home
    accepted: subprocess.CompletedProcess[str]
    refused: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module", name="judged")
def _judged(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    own = home.copy(tmp_path_factory.mktemp("judged") / "own")
    package = Path(receipt(own, "train")["package"])
    older = package.with_name("older") / MANIFEST
    older.parent.mkdir()
    older.touch()
    os.utime(older, (0, 0))
    judge = (VALIDATE, "--model-path")
    newest = own.python(*judge, str(package.parents[1]))
    return Judged(own, newest, own.python(*judge, str(package), "--threshold", "0.99"))


def test_validation_exits_with_0_if_it_accepts_and_3_if_it_refuses(
    judged: Judged, tmp_path: Path
) -> None:
    assert judged.accepted.returncode == 0, judged.accepted.stderr
    assert judged.refused.returncode == 3
    own, package = judged.home, receipt(judged.home, "train")["package"]
    assert own.python(VALIDATE, "--model-path", package, "--threshold", "7").returncode == 2
    missing = own.python(VALIDATE, "--model-path", str(own.folder / "nothing"))
    assert missing.returncode == 1
    assert "is not a model package" in missing.stderr
    elsewhere = shutil.copytree(package, tmp_path / "elsewhere")
    unknown = own.python(VALIDATE, "--model-path", str(elsewhere))
    assert unknown.returncode == 1
    assert "is not registered: only packages" in unknown.stderr


def test_without_a_path_the_candidate_in_the_registry_is_validated(own: Home) -> None:
    judged = own.python(VALIDATE)
    assert judged.returncode == 0, judged.stderr
    assert receipt(own, "train")["version"] in judged.stdout


def test_a_package_with_a_forged_manifest_is_refused(own: Home, tmp_path: Path) -> None:
    package = Path(receipt(own, "train")["package"])
    recorded = ModelPackage(package).read_json("holdout.json")
    recorded["training"] = recorded["training"][1:]
    forged = forge(package, tmp_path / "forged", "holdout.json", recorded)
    shutil.rmtree(package)
    forged.rename(package)
    ModelPackage(package)  # consistent in itself
    before, in_store = aliases(own), stored(own)
    refused = own.python(VALIDATE, "--model-path", str(package))
    assert refused.returncode == 3
    assert "REFUSED   digests_are_intact: " in refused.stdout
    assert "on record" in refused.stdout
    assert (aliases(own), stored(own)) == (before, in_store)


def test_the_verdict_the_report_and_the_card_are_recorded(judged: Judged) -> None:
    own = judged.home
    tag = f"{NAME} {receipt(own, 'train')['version']}"
    shown = own.receipts.parent / NAME / "validation"
    assert re.search(r"  judged    19 gates in \d+\.\d s: 1 refused\n", judged.refused.stdout)
    assert f"report    file://{shown}/report.html" in judged.refused.stdout
    assert f"card      file://{shown}/card.md" in judged.refused.stdout
    assert "REFUSED" in (shown / "report.html").read_text("utf-8")
    assert "threshold 0.990" in (shown / "card.md").read_text("utf-8")
    client = open_client(own.environment["MLFLOW_TRACKING_URI"])
    run = receipt(own, "train")["run_id"]
    kept = {Path(item.path).name for item in client.list_artifacts(run, "validation")}
    assert kept == {"report.html", "card.md", "verdict.md", "verdicts.json"}
    assert client.get_model_version_by_alias(NAME, CANDIDATE).tags["verdict"] == "refused"
    events = FileLedger(own.folder / "ledger.jsonl").entries()
    assert [entry.event for entry in events] == ["train", "verdict", "promote", *["verdict"] * 2]
    assert {f"{entry.model_name} {entry.version}" for entry in events} == {tag}
    assert [entry.details.get("refused_by") for entry in events[-2:]] == [None, "quality"]


def test_an_accepted_candidate_can_wait_for_manual_approval(own: Home, tmp_path: Path) -> None:
    config = json.loads(PETALS_CONFIG.read_text(encoding="utf-8"))
    config["validation"]["approval"] = "manual"
    (tmp_path / "manual.json").write_text(json.dumps(config), encoding="utf-8")
    before = aliases(own)[CHAMPION]
    judged = own.make("validate", f"CONFIG={tmp_path / 'manual.json'}")
    assert judged.returncode == 0, judged.stderr
    assert "not promoted yet" in judged.stdout
    assert "make promote MODEL=petals" in judged.stdout
    assert aliases(own)[CHAMPION] == before
    waiting = receipt(own, "validate")["registry_version"]
    assert waiting != before
    promoted = own.make("promote", f"CONFIG={tmp_path / 'manual.json'}")
    assert promoted.returncode == 0, promoted.stderr
    assert (aliases(own)[CHAMPION], aliases(own)[PREVIOUS]) == (waiting, before)
    built = own.make("bento-build", f"CONFIG={tmp_path / 'manual.json'}")
    assert built.returncode == 0, built.stderr
    assert receipt(own, "bento-build")["version"] == receipt(own, "train")["version"]


def test_after_a_rollback_the_previous_champion_is_built_without_another_validation(
    home: Home, second_home: Home, tmp_path: Path
) -> None:
    first, own = receipt(home, "train")["version"], second_home.copy(tmp_path / "own")
    assert own.make("rollback").returncode == 0
    built = own.make("bento-build")
    assert built.returncode == 0, built.stderr
    assert "validate petals" not in built.stdout
    assert receipt(own, "bento-build")["version"] == first
    again = own.make("rollback")
    assert again.returncode == 0
    assert own.make("bento-build").returncode == 0
    assert receipt(own, "bento-build")["version"] == receipt(own, "train")["version"] != first


def test_a_changed_file_in_the_package_is_refused_and_named(own: Home) -> None:
    package = Path(receipt(own, "train")["package"])
    onnx = package / "model.onnx"
    onnx.chmod(0o644)
    data = bytearray(onnx.read_bytes())
    data[len(data) // 2] ^= 1
    onnx.write_bytes(data)
    refused = own.make("-B", "-o", str(own.receipts / "train.json"), "validate")
    assert refused.returncode != 0
    assert "model.onnx differs from its digest" in refused.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"surprise": 1}', "unknown key 'surprise'"),
        ('{"data": {"test_size": "much"}}', "data.test_size"),
    ],
)
def test_an_invalid_configuration_stops_training_before_anything_is_recorded(
    make_home: MakeHome, tmp_path: Path, text: str, message: str
) -> None:
    home = make_home(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(text, encoding="utf-8")
    refused = home.python(PIPELINE, "--config", str(config))
    assert refused.returncode == 1
    assert message in refused.stderr
    assert str(config) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "packages").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_estimators": "many"}, "model.n_estimators: input should be a valid integer"),
        ({"n_estimators": -1}, "RandomForestClassifier cannot be trained"),
        ({"trees": 3}, "unknown key 'model.trees'"),
    ],
)
def test_invalid_model_parameters_stop_training_before_anything_is_recorded(
    make_home: MakeHome, tmp_path: Path, parameters: dict[str, Any], message: str
) -> None:
    home = make_home(tmp_path)
    written = json.loads(PETALS_CONFIG.read_text(encoding="utf-8"))
    written["model"] |= parameters
    config = tmp_path / "config.json"
    config.write_text(json.dumps(written), encoding="utf-8")
    refused = home.python(PIPELINE, "--config", str(config))
    assert refused.returncode == 1
    assert message in refused.stderr
    assert str(config) in refused.stderr
    assert "Traceback" not in refused.stderr
    client = open_client(home.environment["MLFLOW_TRACKING_URI"])
    assert not client.get_experiment_by_name("petals_experiment")
    assert not [path for path in (tmp_path / "packages").rglob("*") if path.is_file()]


def test_a_missing_configuration_is_an_error_and_trains_nothing(
    make_home: MakeHome, tmp_path: Path
) -> None:
    refused = make_home(tmp_path).python(PIPELINE, "--config", "nowhere.json")
    assert refused.returncode == 1
    assert "nowhere.json" in refused.stderr
    assert not (tmp_path / "packages").exists()
    by_make = make_home(tmp_path).make("train", "CONFIG=nowhere.json")
    assert by_make.returncode != 0
    assert "nowhere.json" in by_make.stderr


def test_no_bento_is_built_without_a_champion(make_home: MakeHome, tmp_path: Path) -> None:
    refused = make_home(tmp_path).python("-m", "infrastructure.cli", "bento-build")
    assert refused.returncode == 1
    assert "has no champion in the registry" in refused.stderr


def test_the_registered_model_can_be_loaded_with_mlflow(home: Home) -> None:
    code = (
        "import mlflow, numpy as np; "
        f"model = mlflow.pyfunc.load_model('models:/{NAME}@champion'); "
        "example = model.input_example; "
        "print(sorted(model.predict(example)), model.metadata.signature is not None)"
    )
    done = home.python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['prediction', 'setosa', 'versicolor', 'virginica'] True"


def test_state_can_be_moved_to_another_clone(own: Home, tmp_path: Path) -> None:
    other = tmp_path / "clone"
    copy_with_petals(other)
    in_other = Home(own.folder, other)
    environment = {k: v for k, v in in_other.environment.items() if k not in _PLACES}
    for source, target in (
        (own.folder / "build", other / "build"),
        (own.folder / "bentoml", other / ".bentoml"),
        (own.folder / "packages", other / "application/registry/model_registry"),
        (own.folder / "mlflow.db", other / "mlflow.db"),
    ):
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    subprocess.run(["make", "state-save"], cwd=other, env=environment, check=True)
    for name in ("build", ".bentoml", "application/registry", "mlflow.db"):
        path = other / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    subprocess.run(["make", "state-load"], cwd=other, env=environment, check=True)
    assert (other / "build/petals/bento/bento.yaml").exists()
    order = [(other / f"build/petals/{s}.json").stat().st_mtime_ns for s in _STEPS]
    assert order == sorted(order)


_STEPS = ("train", "validate", "bento-build")
_PLACES = {
    *("MLFLOW_TRACKING_URI", "MODEL_REGISTRY_DIR", "BENTOML_HOME"),
    *("RECEIPTS_DIR", "RELEASES_DIR"),
}
