"""The intended gate refuses each mutant; no gate refuses a sound model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import domain.models
from domain.errors import PackageError
from domain.evaluation.measures import names_of
from infrastructure.cli.__main__ import main
from infrastructure.packaging.model_package import MANIFEST, ModelPackage
from infrastructure.registry.ledger import FileLedger
from infrastructure.registry.mlflow_registry import CHAMPION, MlflowRegistry
from infrastructure.tracking.mlflow_tracker import MlflowTracker
from shared.digests import sha256_of
from shared.paths import ROOT
from tests.template.benchmarks.gates_report import GATES
from tests.template.zoo import (
    BY_MEASURE,
    MUTANTS,
    SOUND,
    SOUND_MODELS,
    SPEC,
    Mutant,
    Zoo,
    flip,
    make,
)

NAMED = {mutant.name: mutant for mutant in MUTANTS}
RECORDED_MUTANTS = ("shuffled labels", "model needs an operator", "tampered file and manifest")


@pytest.fixture(scope="session", name="zoo")
def _zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("zoo"))


@pytest.mark.parametrize("sound", SOUND_MODELS, ids=lambda sound: sound.name)
def test_a_sound_model_is_accepted_by_every_gate(zoo: Zoo, sound: Mutant) -> None:
    verdicts = zoo.verdicts(sound)
    assert (
        len(verdicts) == len(GATES) - len({"loads", "digests_are_intact"}) - 1
    )  # one is for the other task
    assert {verdict.gate for verdict in verdicts} < set(GATES)
    for verdict in verdicts:
        assert verdict.accepted, f"{verdict.gate}: {verdict.reason}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_refused_by_the_intended_gate(zoo: Zoo, mutant: Mutant) -> None:
    verdicts = {verdict.gate: verdict for verdict in zoo.verdicts(mutant)}
    assert mutant.gate in verdicts, f"the gate did not run: {', '.join(verdicts)}"
    assert not verdicts[mutant.gate].accepted, verdicts[mutant.gate].reason


BY_DAY = ("roc_auc", "average_precision", "f1_macro", "neg_log_loss", "neg_mean_absolute_error")
MEASURED = [
    pytest.param(
        name,
        mutant,
        id=f"{name}, {mutant.name}",
        marks=[] if name in BY_DAY else pytest.mark.nightly,
    )
    for spec, mutants in BY_MEASURE.items()
    for name in names_of(spec)
    for mutant in mutants
]


@pytest.mark.parametrize(("measure", "mutant"), MEASURED)
def test_models_without_skill_are_refused_under_each_measure_and_sound_ones_accepted(
    zoo: Zoo, measure: str, mutant: Mutant
) -> None:
    verdicts = {verdict.gate: verdict for verdict in zoo.verdicts_by(measure, mutant)}
    if mutant.gate:
        assert not verdicts[mutant.gate].accepted, verdicts[mutant.gate].reason
    else:
        for verdict in verdicts.values():
            assert verdict.accepted, f"{verdict.gate}: {verdict.reason}"


def test_every_gate_has_a_mutant(zoo: Zoo) -> None:
    refusing = {each.gate for each in zoo.verdicts(NAMED["model needs an operator"])}
    assert {mutant.gate for mutant in MUTANTS} | refusing == set(GATES)


def test_a_flipped_bit_in_any_file_is_refused_by_name(zoo: Zoo, tmp_path: Path) -> None:
    package = Path(shutil.copytree(zoo.package(SOUND), tmp_path / "package"))
    recorded = sha256_of(package / MANIFEST)
    names = [*ModelPackage(package, recorded=recorded).digests, MANIFEST]
    assert {"model.onnx", "model.joblib", "holdout.json", "card.md"} < set(names)
    for name in names:
        flip(package / name)
        with pytest.raises(PackageError, match=f": {name} "):
            ModelPackage(package, recorded=recorded)
        flip(package / name)  # flip it back
    assert ModelPackage(package, recorded=recorded).digest == recorded


def test_the_document_lists_every_mutant_and_gate() -> None:
    text = (ROOT / "docs/gates.md").read_text("utf-8")
    for mutant in MUTANTS:
        assert f"| {mutant.name}: {mutant.fault} | `{mutant.gate}` |" in text
    for gate in GATES:
        assert f"| `{gate}` |" in text


@dataclass(frozen=True)
class Place:
    """A home with a sound champion, and the loans in its catalog."""

    folder: Path
    registry: MlflowRegistry

    @property
    def champion(self) -> str:
        """The version of the champion's package."""
        return self.registry.find(SPEC.name, CHAMPION).package_version

    def train(self, mutant: Mutant) -> Path:
        """Train and register a mutant, and return the folder of its package."""
        version = f"1.0.0-{mutant.name.replace(' ', '-')}"
        tracker = MlflowTracker(self.registry.uri)
        package = make(mutant.recipe, self.registry.packages_dir, version, tracker)
        mutant.tampered(package)
        return package


@pytest.fixture(scope="module", name="place")
def _place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    (folder / "models").mkdir()
    source = "from tests.template.zoo import SPEC, build, load"
    (folder / "models" / f"{SPEC.name}.py").write_text(source, encoding="utf-8")
    registry = MlflowRegistry(f"sqlite:///{folder / 'mlflow.db'}", folder / "packages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain.models, "__path__", [*domain.models.__path__, str(folder / "models")])
        patch.setenv("MLFLOW_TRACKING_URI", registry.uri)
        patch.setenv("MODEL_REGISTRY_DIR", str(registry.packages_dir))
        for name in ("BENTOML_HOME", "RECEIPTS_DIR", "RELEASES_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        patch.setenv("LEDGER", str(folder / "ledger.jsonl"))
        place = Place(folder, registry)
        sound = place.train(SOUND_MODELS[0])
        (folder / "verdict").mkdir()
        found = registry.find(SPEC.name, sound.name)
        registry.record_verdict(found, "accepted", folder / "verdict")
        registry.promote(SPEC.name, sound.name)
        yield place


@pytest.mark.parametrize("mutant", [NAMED[name] for name in RECORDED_MUTANTS], ids=lambda m: m.name)
def test_a_validated_mutant_changes_nothing_but_is_recorded(
    place: Place, mutant: Mutant, capsys: pytest.CaptureFixture[str]
) -> None:
    before, package = place.champion, place.train(mutant)
    receipt = place.folder / "validate.json"
    arguments = ["--model", SPEC.name, "--model-path", str(package), "--receipt", str(receipt)]
    assert main(["validate", *arguments]) == 3
    assert f"{SPEC.name} {package.name} is refused" in capsys.readouterr().err
    assert place.champion == before
    assert not receipt.exists()
    assert place.registry.find(SPEC.name, package.name).verdict == "refused"
    entry = FileLedger(place.folder / "ledger.jsonl").entries()[-1]
    assert (entry.event, entry.version) == ("verdict", package.name)
    assert entry.details["verdict"] == "refused"
    assert mutant.gate in str(entry.details["refused_by"]).split(", ")
