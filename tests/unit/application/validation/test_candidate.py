"""Validation of a candidate: judged, recorded, promoted or not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from application.ports.registry import ModelVersion
from application.training.config import MeasureConfig, ValidationConfig
from application.validation.candidate import (
    Accepted,
    ChampionPackage,
    Ports,
    judge_estimator,
    registered_version,
    validate_candidate,
)
from application.validation.judgement import Judgement, Validation
from application.validation.validate import CrossValidation
from domain import catalog
from domain.data.splitting import hold_out
from domain.errors import ConfigError, GateRefusal, PackageError, RegistryError
from domain.evaluation.predictions import predict_function
from domain.gates import Verdict
from tests import petals
from tests.fakes import (
    PETALS_CONFIG,
    FakeLedger,
    FakePackage,
    FakeRegistry,
    FakeSnapshots,
    fake_model,
)

NAME, VERSION = "iris_classifier_pipeline", "1.0.0-b"
GOOD = Verdict("quality", True, "accuracy 0.97")
BAD = Verdict("quality", False, "accuracy 0.50 is too low")
ALONE = Verdict("serves_alone", True, "it serves")


@dataclass
class Package:
    """A package in a folder, with the configuration of petals."""

    folder: Path
    spec: Any = petals.SPEC
    validation: dict[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def served(self) -> Path:
        """Not read here."""
        return self.folder / "model.onnx"

    def read_json(self, name: str) -> Any:
        """A provenance with a configuration; every other file is empty."""
        if name != "provenance.json":
            return {}
        config = json.loads(PETALS_CONFIG.read_text(encoding="utf-8"))
        return {"config": {**config, "validation": {**config["validation"], **self.validation}}}

    def load_native(self) -> Any:
        """Not called here."""
        raise AssertionError


@dataclass
class Report:
    """Keeps what is written into it."""

    path: Path
    validations: list[Validation] = field(default_factory=list)
    verdicts: list[tuple[str, list[str]]] = field(default_factory=list)
    failure: Exception | None = None

    def write_report(self, validation: Validation) -> None:
        """Keep the validation, or fail as a full disk does."""
        if self.failure:
            raise self.failure
        self.validations.append(validation)

    def write_verdicts(self, verdict: str, verdicts: Sequence[Verdict]) -> None:
        """Keep the names of the gates."""
        self.verdicts.append((verdict, [verdict.gate for verdict in verdicts]))


class Check:
    """The check in a clean process, which has ended."""

    @staticmethod
    def verdict() -> Verdict:
        """Accept."""
        return ALONE


@dataclass
class Bench:
    """A candidate, a champion, and everything that a validation needs.

    Attributes:
        judged: the champion passed to each call of the judge.
        steps: reported steps, as "step result".
    """

    folder: Path
    report: Report
    verdicts: list[Verdict] = field(default_factory=lambda: [GOOD])
    validation: dict[str, Any] = field(default_factory=dict)
    journal: list[str] = field(default_factory=list)
    judged: list[ChampionPackage] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    opens: Callable[[ModelVersion], Any] = lambda version: f"package of {version.package_version}"
    meanwhile: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.registry, self.ledger = FakeRegistry(self.journal), FakeLedger(self.journal)
        self.registry.add(NAME, "1.0.0-a", "champion", verdict="accepted")
        self.candidate = replace(self.registry.add(NAME, VERSION), package_digest="d1")

    def validate(self, threshold: float | None = None, digest: str = "d1") -> Accepted:
        """Validate the candidate, with files of this digest."""

        def open_package(folder: Path, recorded: str) -> Package:
            if recorded != digest:
                raise PackageError(f"{folder.name}: its digest is {digest}, not {recorded}")
            return Package(folder, validation=self.validation)

        def judge(package: Package, _rules: Any, champion: ChampionPackage) -> Any:
            self.judged.append(champion)
            self.meanwhile()
            return Judgement(package.spec, self.verdicts), None

        def store(package: Package, model_name: str) -> str:
            self.journal.append(f"stored {package.version}")
            return f"{model_name}:{package.version}"

        ports = Ports(
            registry=self.registry,
            ledger=self.ledger,
            report=self.report,
            open_package=open_package,
            open_champion=self.opens,
            judge=judge,
            start_serving_check=lambda package: nullcontext(Check()),
            store=store,
            progress=lambda step, result: self.steps.append(f"{step} {result}"),
        )
        return validate_candidate(self.folder, self.candidate, threshold, ports)

    def champion(self) -> str:
        """Package version of the champion."""
        return self.registry.find(NAME, "champion").package_version


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Bench:
    folder = tmp_path / NAME / VERSION
    folder.mkdir(parents=True)
    (folder / "card.md").write_text("# Iris\n", encoding="utf-8")
    return Bench(folder, Report(tmp_path / "validation"))


def test_an_accepted_candidate_is_stored_recorded_and_promoted(bench: Bench) -> None:
    accepted = bench.validate()
    assert (accepted.promoted, accepted.tag) == (True, f"{NAME}:{VERSION}")
    assert bench.champion() == VERSION
    gates = ["digests_are_intact", "quality", "serves_alone"]
    assert [verdict.gate for verdict in accepted.judgement.verdicts] == gates
    assert bench.report.verdicts == [("accepted", gates)]
    assert bench.registry.reports[NAME, VERSION] == bench.report.path
    events = [(entry.event, entry.details.get("verdict")) for entry in bench.ledger.entries()]
    assert events == [("verdict", "accepted"), ("promote", None)]
    assert bench.journal.index(f"stored {VERSION}") < bench.journal.index(
        f"promoted {NAME} {VERSION}"
    )
    assert bench.steps[-1].endswith("in the Bento store; the previous champion was version 1")


def test_one_refusal_keeps_the_champion_and_is_recorded_with_its_reason(bench: Bench) -> None:
    bench.verdicts = [BAD]
    with pytest.raises(
        GateRefusal, match=f"{NAME} {VERSION} is refused by quality: the "
    ) as refused:
        bench.validate()
    assert str(bench.report.path) in str(refused.value) and BAD.reason not in str(refused.value)
    assert bench.champion() == "1.0.0-a"
    (entry,) = bench.ledger.entries()
    assert (entry.details["verdict"], entry.details["refused_by"]) == ("refused", "quality")
    assert f"stored {VERSION}" not in bench.journal
    (validation,) = bench.report.validations
    assert not validation.judgement.accepted and validation.card == "# Iris\n"


def test_other_versions_that_the_same_holdout_has_judged_are_counted(bench: Bench) -> None:
    bench.verdicts = [BAD]
    for other in ("", "1.0.0-x", "1.0.0-x", "1.0.0-y"):
        if other:
            bench.ledger.append("verdict", NAME, other, **bench.ledger.entries()[0].details)
        with pytest.raises(GateRefusal):
            bench.validate()
    with pytest.raises(GateRefusal):
        bench.validate(digest="d2")  # a modified package is not judged
    assert [validation.looks for validation in bench.report.validations] == [0, 1, 1, 2]
    steps = [step for step in bench.steps if step.startswith("context")]
    assert steps == [
        f"context this hold-out has judged {others} of the model before"
        for others in ("another version", "another version", "2 other versions")
    ]


def test_a_modified_package_is_refused_before_any_of_it_is_used(bench: Bench) -> None:
    with pytest.raises(GateRefusal, match="is refused by digests_are_intact: "):
        bench.validate(digest="d2")
    assert bench.steps[0].endswith("its digest is d2, not d1")
    assert bench.report.verdicts == [("refused", ["digests_are_intact"])]
    assert not bench.judged and not bench.report.validations


def test_a_version_without_a_recorded_digest_is_refused(bench: Bench) -> None:
    bench.candidate = replace(bench.candidate, package_digest=None)
    with pytest.raises(GateRefusal, match="is refused by digests_are_intact: "):
        bench.validate()
    assert re.search("the registry has no digest of .*: train it again$", bench.steps[0])


def test_manual_approval_leaves_the_champion_in_place(bench: Bench) -> None:
    bench.validation = {"approval": "manual"}
    accepted = bench.validate()
    assert not accepted.promoted
    assert bench.champion() == "1.0.0-a"
    assert f"stored {VERSION}" in bench.journal
    assert bench.steps[-1].endswith("not promoted yet")


def test_the_champion_itself_is_judged_without_approval_or_comparison(bench: Bench) -> None:
    bench.validation = {"approval": "manual"}
    bench.registry.find(NAME, VERSION)
    bench.registry.record_verdict(bench.candidate, "accepted", Path())
    bench.registry.promote(NAME, VERSION)
    bench.candidate = replace(bench.registry.find(NAME, VERSION), package_digest="d1")
    assert bench.validate().promoted
    assert bench.judged == [ChampionPackage()]
    assert bench.champion() == VERSION


def test_a_candidate_is_compared_with_the_champion_of_its_model(bench: Bench) -> None:
    bench.validate()
    assert bench.judged[0].package == "package of 1.0.0-a"


def test_a_champion_with_a_missing_package_is_reported_to_the_judge(bench: Bench) -> None:
    def gone(_: ModelVersion) -> Any:
        raise RegistryError("its package is gone")

    bench.opens = gone
    bench.validate()
    assert bench.judged == [ChampionPackage(unavailable="its package is gone")]


def test_a_new_champion_in_the_meantime_stops_the_promotion(bench: Bench) -> None:
    def promote_another() -> None:
        bench.registry.add(NAME, "1.0.0-c", verdict="accepted")
        bench.registry.promote(NAME, "1.0.0-c")

    bench.meanwhile = promote_another
    with pytest.raises(RegistryError, match="version 3 became champion in the meantime"):
        bench.validate()
    assert bench.champion() == "1.0.0-c"


def test_a_threshold_argument_overrides_the_configuration(bench: Bench) -> None:
    assert bench.validate(threshold=0.25).rules.threshold == 0.25


def test_verdicts_are_recorded_even_if_the_report_cannot_be_written(bench: Bench) -> None:
    bench.report.failure = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        bench.validate()
    assert bench.report.verdicts[0][0] == "accepted"
    assert bench.champion() == "1.0.0-a"


def test_only_a_registered_package_can_be_validated(bench: Bench) -> None:
    assert registered_version(bench.folder, bench.registry).number == "2"
    with pytest.raises(RegistryError, match="1.0.0-z is not registered: only packages that"):
        registered_version(bench.folder.with_name("1.0.0-z"), bench.registry)


TREE = DecisionTreeClassifier(random_state=0)


class CountingSearch(GridSearchCV):  # type: ignore[misc]  # pylint: disable=too-many-ancestors
    """A search that counts how often any copy of it is fitted."""

    fits = 0

    def fit(self, *args: Any, **options: Any) -> Any:
        """Search."""
        CountingSearch.fits += 1
        return super().fit(*args, **options)


@dataclass
class Trained(FakePackage):
    """A package of petals in a folder, with a served file."""

    folder: Path = Path()

    @property
    def served(self) -> Path:
        """The file that a service would load."""
        return self.folder / "model.onnx"

    @property
    def spec(self) -> Any:
        """The contract of petals."""
        return petals.SPEC


@dataclass
class Judged:
    """Judges a package of petals, whose estimator took so many seconds to fit."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    steps: list[str] = field(default_factory=list)

    def cross_validation(
        self, estimator: Any, fit_seconds: float = 0.0, scores: Any = None, **rules: Any
    ) -> CrossValidation | None:
        """Judge, and return the cross-validation; `scores` are those that training recorded."""
        dataset = petals.load()
        self.monkeypatch.setattr(
            catalog, "get", lambda name: fake_model(dataset, build=lambda: clone(estimator))
        )
        training, holdout = hold_out(dataset, petals.SPEC, 0.2, 42)
        fitted = clone(estimator).fit(
            training.encoded(petals.SPEC), training.encoded_target(petals.SPEC)
        )
        CountingSearch.fits = 0
        native = predict_function(fitted, petals.SPEC)
        config = json.loads(PETALS_CONFIG.read_text(encoding="utf-8")) | {"model": {}}
        files = {
            "contract.json": petals.SPEC.to_dict(),
            "holdout.json": {
                "holdout": holdout.row_hashes.tolist(),
                "training": training.row_hashes.tolist(),
            },
            "provenance.json": {"config": config},
            "metrics.json": {"fit_seconds": fit_seconds, "cross_validation": scores},
        }
        package = Trained(files, fitted, "1.0.0-a", self.folder)
        package.served.write_bytes(b"model")
        _, crossed = judge_estimator(
            package,
            ValidationConfig(threshold=0.5, **rules),
            ChampionPackage(),
            load_served=lambda path, spec: lambda rows: native(rows).astype(np.float32),
            snapshots=FakeSnapshots(),
            on_gate=lambda gate: None,
            on_folds=iter,
            progress=lambda step, result: self.steps.append(f"{step} {result}"),
        )
        return crossed


@pytest.fixture(name="judged")
def _judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judged:
    return Judged(tmp_path, monkeypatch)


def test_the_recipe_is_cross_validated_by_the_chosen_measure(judged: Judged) -> None:
    crossed = judged.cross_validation(TREE, folds=3, measure=MeasureConfig(name="f1_macro"))
    assert crossed is not None
    assert (crossed.measure, len(crossed.scores)) == ("f1_macro", 3)
    assert judged.steps[-1] == f"context cross-validation of the same recipe: {crossed}"
    assert judged.cross_validation(TREE, folds=0) is None


def test_a_cross_validation_that_training_made_is_not_made_again(judged: Judged) -> None:
    search = CountingSearch(TREE, {"max_depth": [1, 3]}, cv=3)
    crossed = judged.cross_validation(search, scores=[0.25, None, 0.75])
    assert crossed is not None and str(crossed).startswith("accuracy 0.500 ± 0.354 (3 folds")
    assert (
        judged.steps[-1] == f"context cross-validation of the same recipe, by training: {crossed}"
    )
    repeated = judged.cross_validation(search, scores=[0.25, 0.75], folds=3, repeat_search=True)
    assert repeated is not None and len(repeated.scores) == CountingSearch.fits == 3
    assert judged.cross_validation(search, scores=[0.25, 0.75], folds=0) is None


def test_a_fit_longer_than_the_budget_is_not_cross_validated(judged: Judged) -> None:
    assert judged.cross_validation(TREE, fit_seconds=31, seconds=30) is None
    assert judged.steps[-1] == (
        "context no cross-validation: one fit takes 31 s, more than validation.seconds, 30"
    )


@pytest.mark.parametrize(("fit_seconds", "announced"), [(0.9, False), (1.2, True)])
def test_a_long_cross_validation_says_beforehand_what_it_costs(
    judged: Judged, fit_seconds: float, announced: bool
) -> None:
    judged.cross_validation(TREE, fit_seconds)
    message = "context 10 folds of cross-validation take about 12 s, at most 120 s "
    assert any(step.startswith(message) for step in judged.steps) is announced


@pytest.mark.parametrize("repeat", [False, True])
def test_a_search_is_repeated_in_every_fold_only_if_configured(
    judged: Judged, repeat: bool
) -> None:
    search = CountingSearch(TREE, {"max_depth": [1, 3]}, cv=3)
    crossed = judged.cross_validation(search, folds=3, repeat_search=repeat)
    assert crossed is not None and len(crossed.scores) == 3
    assert CountingSearch.fits == (3 if repeat else 0)


def test_too_many_folds_for_the_data_are_an_error_of_the_configuration(judged: Judged) -> None:
    with pytest.raises(ConfigError, match="validation.folds: 60 folds do not fit the data"):
        judged.cross_validation(TREE, folds=60)
