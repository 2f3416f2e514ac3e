"""Packaging weights, with a fake engine and a fake tracker."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from application.inference.transcriber import SpeechEngine
from application.training.config import TrainingConfig
from application.training.transcription import SpeechCandidate, SpeechTools, package_weights
from domain.errors import ConfigError, DataError
from domain.evaluation.word_error_rate import WordErrors
from infrastructure.packaging.model_package import ModelPackage, PackageDraft
from tests.fakes import FakeTracker
from tests.speech_fakes import SPEC, SPEECH, FakeEngine, fake_decode

FILES = {
    *("MANIFEST.sha256", "card.md", "contract.json", "decoding.json", "golden.flac", "golden.json"),
    *("metrics.json", "model.pt", "provenance.json"),
}


def write_loudness(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Write what `fake_decode` reads: a byte for each second."""
    path.write_bytes((samples[::sample_rate] * 255).round().astype(np.uint8).tobytes())


def compare_words(reference: str, found: str, language: str | None) -> WordErrors:
    """Right or wrong as a whole; three insertions mark the language ``de``."""
    insertions = 3 if language == "de" else 0
    return WordErrors(len(reference.split()), int(reference != found), 0, insertions)


@dataclass
class Workshop:
    """Packages weights with fakes for everything except the package."""

    folder: Path
    tracker: FakeTracker = field(default_factory=FakeTracker)
    opened: dict[str, Any] = field(default_factory=dict)
    steps: list[tuple[str, str]] = field(default_factory=list)

    def config(self, manifest: str | None = None, **model: Any) -> TrainingConfig:
        """A configuration with this manifest and these keys of ``model``."""
        return TrainingConfig.model_validate(
            {
                "model": {"weights": "weights.pt", **model},
                "data": {"test_size": 0.5, "random_state": 0, "manifest": manifest},  # no split
                "experiment_name": "speech_transcription",
                "model_name": "speech_transcriber",
                "version": "1.0.0",
            }
        )

    def manifest(self, *texts: str, language: str = "") -> str:
        """A manifest of recordings, two seconds each, the first one loudest."""
        lines = ["audio,text,language"]
        for number, text in enumerate(texts):
            (self.folder / f"{number}.wav").write_bytes(bytes([255 - number, 0]))
            lines.append(f"{number}.wav,{text},{language}")
        (self.folder / "m.csv").write_text("\n".join(lines), encoding="utf-8")
        return str(self.folder / "m.csv")

    def open_engine(self, checkpoint: Path, **decoding: Any) -> SpeechEngine:
        """Keep the arguments."""
        self.opened = {"checkpoint": checkpoint.read_bytes(), **decoding}
        return FakeEngine()

    def run(self, config: TrainingConfig, version: str = "1.0.0-a") -> SpeechCandidate:
        """Package the weights once."""
        tools = SpeechTools(
            lambda weights: self.folder / weights,
            self.open_engine,
            fake_decode,
            write_loudness,
            compare_words,
        )
        packages = self.folder / "packages"
        with (
            ThreadPoolExecutor(1) as background,
            PackageDraft(packages, config.model_name, version) as draft,
        ):
            return package_weights(
                SPEECH,
                config,
                draft,
                tools=tools,
                tracker=self.tracker,
                background=background,
                provenance={"git_commit": "abc123", "python": "3.11"},
                progress=lambda name, result: self.steps.append((name, result)),
            )

    def left_behind(self) -> set[str]:
        """Names of the files in the folder of the packages."""
        found = (self.folder / "packages").rglob("*")
        return {path.name for path in found if path.is_file()}


@pytest.fixture(name="workshop")
def _workshop(tmp_path: Path) -> Workshop:
    (tmp_path / "weights.pt").write_bytes(b"the weights")
    return Workshop(tmp_path)


def read(candidate: SpeechCandidate, name: str) -> Any:
    """A JSON file of the candidate's package."""
    return json.loads((candidate.package / name).read_text(encoding="utf-8"))


def test_a_package_is_complete_and_has_the_weights_unchanged(workshop: Workshop) -> None:
    candidate = workshop.run(workshop.config())
    package = ModelPackage(candidate.package)
    assert workshop.left_behind() == FILES
    assert (package.folder / "model.pt").read_bytes() == b"the weights"
    assert package.read_json("contract.json") == json.loads(json.dumps(SPEC.to_dict()))


def test_measuring_and_serving_use_the_same_decoding(workshop: Workshop) -> None:
    candidate = workshop.run(workshop.config(language="de", beam_size=2))
    decoding = read(candidate, "decoding.json")
    assert workshop.opened == {
        "checkpoint": b"the weights",
        **decoding,
        "temperatures": tuple(decoding["temperatures"]),
    }
    assert (decoding["language"], decoding["beam_size"]) == ("de", 2)
    assert "weights" not in decoding


def test_without_a_manifest_everything_is_reported_as_not_measured(workshop: Workshop) -> None:
    candidate = workshop.run(workshop.config())
    assert candidate.report is None
    assert "word_error_rate" not in read(candidate, "metrics.json")
    assert "word_error_rate" not in workshop.tracker.records[0].metrics
    assert "Not measured" in (candidate.package / "card.md").read_text(encoding="utf-8")
    assert dict(workshop.steps)["quality"] == "not measured: data.manifest is null"


def test_word_errors_are_counted_over_the_manifest_and_recorded_by_utterance(
    workshop: Workshop,
) -> None:
    candidate = workshop.run(workshop.config(workshop.manifest("1.0", "a b c")))
    assert candidate.report is not None
    assert candidate.report.rate == 1 / 4
    metrics = read(candidate, "metrics.json")
    assert metrics["word_error_rate"] == 0.25
    assert metrics["word_error_rate_interval"] == list(candidate.report.interval or ())
    assert metrics["audio_seconds"] == 4.0
    assert metrics["real_time_factor"] > 0
    assert metrics["utterances"][1] == {
        "recording": "1.wav",
        "language": "en",
        "duration_seconds": 2.0,
        "said": "a b c",
        "heard": "1.0",
        "words": 3,
        "substitutions": 1,
        "deletions": 0,
        "insertions": 0,
    }
    assert workshop.tracker.records[0].metrics["word_error_rate"] == 0.25
    assert "word error rate 0.250" in (candidate.package / "card.md").read_text(encoding="utf-8")


def test_a_language_in_the_manifest_reaches_the_model_and_the_word_comparison(
    workshop: Workshop,
) -> None:
    candidate = workshop.run(workshop.config(workshop.manifest("1.0", language="de")))
    (row,) = read(candidate, "metrics.json")["utterances"]
    assert (row["language"], row["insertions"]) == ("de", 3)


def test_the_golden_recording_is_the_first_of_the_manifest(workshop: Workshop) -> None:
    candidate = workshop.run(workshop.config(workshop.manifest("1.0", "0.9")))
    assert (candidate.package / "golden.flac").read_bytes() == bytes([255, 0])
    assert read(candidate, "golden.json") == {"rows": [["golden.flac"]], "answers": [["1.0"]]}


def test_provenance_has_the_weights_the_configuration_and_the_data(workshop: Workshop) -> None:
    config = workshop.config(workshop.manifest("1.0"))
    provenance = read(workshop.run(config), "provenance.json")
    assert TrainingConfig.model_validate(provenance["config"]) == config
    assert provenance["weights"]["source"] == "weights.pt"
    assert provenance["weights"]["bytes"] == 11
    assert len(provenance["weights"]["sha256"]) == 64
    assert provenance["data"]["source"] == "m.csv"
    assert provenance["git_commit"] == "abc123"


def test_the_tracker_records_the_run_after_the_package_is_in_place(workshop: Workshop) -> None:
    candidate = workshop.run(workshop.config(workshop.manifest("1.0")))
    (record,) = workshop.tracker.records
    assert record.package == candidate.package
    assert record.parameters["model.weights"] == "weights.pt"
    assert len(record.parameters["weights.sha256"]) == 64
    assert record.dataset["rows"] == "1"
    read_files = ("weights.pt", "m.csv", "0.wav")
    assert candidate.data_files == tuple(workshop.folder / name for name in read_files)


def test_every_step_is_reported_in_order_and_none_is_called_training(workshop: Workshop) -> None:
    workshop.run(workshop.config(workshop.manifest("1.0")))
    names = [name for name, _ in workshop.steps]
    assert names == ["weights", "quality", "golden", "record"]


def test_a_recording_that_cannot_be_decoded_is_named_and_nothing_is_left_behind(
    workshop: Workshop,
) -> None:
    manifest = workshop.manifest("1.0")
    (workshop.folder / "0.wav").write_bytes(b"noise")
    with pytest.raises(DataError, match="0.wav: not a recording"):
        workshop.run(workshop.config(manifest))
    assert not workshop.left_behind()
    assert not workshop.tracker.records


def test_a_manifest_without_words_is_refused(workshop: Workshop) -> None:
    with pytest.raises(DataError, match="the texts in m.csv have no words"):
        workshop.run(workshop.config(workshop.manifest("", "")))
    assert not workshop.left_behind()


def test_a_wrong_key_is_refused(workshop: Workshop) -> None:
    with pytest.raises(ConfigError, match="model.beam"):
        workshop.run(workshop.config(beam=3))


def test_a_tracker_that_fails_leaves_no_package_behind(workshop: Workshop) -> None:
    workshop.tracker = FakeTracker(failure=ConnectionError("no tracking server"))
    with pytest.raises(ConnectionError, match="no tracking server"):
        workshop.run(workshop.config())
    assert not workshop.left_behind()
