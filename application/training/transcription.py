"""Package pretrained speech weights instead of training: fetch, measure, package, register."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from application.inference.transcriber import (
    CHECKPOINT,
    DECODING,
    GOLDEN_RECORDING,
    Decode,
    SpeechEngine,
    Transcriber,
)
from application.ports.package_draft import PackageDraft
from application.ports.progress import Progress
from application.ports.tracker import RegisteredVersion, Tracker, TrainingRecord
from application.training.card import markdown_text
from application.training.config import TrainingConfig
from application.training.registration import dataset_facts, register
from domain.catalog import CatalogModel
from domain.contract import ModelSpec
from domain.data.dataset import Dataset
from domain.errors import DataError, InputError
from domain.evaluation.word_error_rate import WordErrorReport, WordErrors
from shared.digests import sha256_of

_GOLDEN_SECONDS = 30


@dataclass(frozen=True)
class SpeechTools:
    """What a run needs from outside.

    Attributes:
        find_weights: finds or downloads the weights that the configuration names.
        open_engine: opens an engine from a checkpoint and the keys of ``decoding.json``.
        decode: decodes recordings.
        write_flac: writes mono samples at a sample rate.
        count_errors: compares a reference text with a transcription, in a language.
        watch: wraps the recordings, to show progress.
    """

    find_weights: Callable[[str], Path]
    open_engine: Callable[..., SpeechEngine]
    decode: Decode
    write_flac: Callable[[Path, np.ndarray, int], None]
    count_errors: Callable[[str, str, str | None], WordErrors]
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter


@dataclass(frozen=True)
class SpeechCandidate:
    """The result of a run.

    Attributes:
        report: word errors on the manifest; None without a manifest.
        data_files: the weights, the manifest and its recordings.
    """

    package: Path
    registered: RegisteredVersion
    report: WordErrorReport | None
    data_files: tuple[Path, ...]
    snapshots: Mapping[str, str] = field(default_factory=dict)  # recordings are not copied


@dataclass
class _Evaluation:
    """Transcriptions of the recordings in the manifest.

    Attributes:
        seconds: how long transcribing took.
        rows: for each recording the reference text, the transcription and the errors.
    """

    audio_seconds: float = 0.0
    seconds: float = 0.0
    errors: list[WordErrors] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def report(self) -> WordErrorReport | None:
        """Word errors; None without recordings."""
        return WordErrorReport(self.errors) if self.errors else None


def package_weights(
    model: CatalogModel,
    config: TrainingConfig,
    draft: PackageDraft,
    *,
    tools: SpeechTools,
    tracker: Tracker,
    background: Executor,
    provenance: Mapping[str, Any],
    progress: Progress,
) -> SpeechCandidate:
    """Fetch the weights, count their word errors, package them and register them as ``candidate``.

    Without a manifest no errors are counted, and the package says so.

    Args:
        draft: the package to write.
        background: records while this process continues; its tasks must be picklable.
        provenance: the environment, for ``provenance.json``.

    Raises:
        ConfigError: the weights are missing, or the configuration lacks keys that the model's
            `build` and `load` need.
        DataError: the manifest or one of its recordings cannot be read.
        InputError: the weights do not support the configured language.
        PackageError: the weights are not a checkpoint.
    """
    recipe = model.build(**config.build_arguments(model))
    dataset = model.load(**config.load_arguments(model))
    source = tools.find_weights(recipe.weights)
    checkpoint = draft.folder / CHECKPOINT
    shutil.copyfile(source, checkpoint)
    decoding = {key: value for key, value in asdict(recipe).items() if key != "weights"}
    engine = tools.open_engine(checkpoint, **decoding)
    transcriber = Transcriber(model.SPEC, engine, tools.decode)
    weights = {
        "source": source.name,
        "sha256": sha256_of(checkpoint),
        "bytes": checkpoint.stat().st_size,
        **engine.describe(),
    }
    progress("weights", f"{source}, {weights['parameters']:,} parameters on {weights['device']}")

    evaluation = _evaluate(transcriber, dataset, tools)
    report = evaluation.report
    progress("quality", str(report) if report else "not measured: data.manifest is null")

    words = _write_golden(draft, transcriber, dataset, tools)
    progress("golden", f"first words {words[:60]!r}")
    metrics = _metrics(evaluation, weights)
    draft.write_json("contract.json", model.SPEC.to_dict())
    draft.write_json(DECODING, decoding)
    draft.write_json(
        "metrics.json",
        {**metrics, **(report.to_dict() if report else {}), "utterances": evaluation.rows},
    )
    draft.write_json(
        "provenance.json",
        {
            **provenance,
            "config": config.model_dump(),
            "data": {"source": dataset.source, "fingerprint": dataset.fingerprint},
            "weights": weights,
        },
    )
    card = _card(model.SPEC, config, recipe, weights, evaluation)
    (draft.folder / "card.md").write_text(card, encoding="utf-8")

    package = draft.seal()
    record = TrainingRecord(
        experiment_name=config.experiment_name,
        model_name=config.model_name,
        package=package,
        package_version=package.name,
        spec=model.SPEC,
        parameters={
            **config.parameters(),
            "weights.source": weights["source"],
            "weights.sha256": weights["sha256"],
        },
        metrics=metrics,
        tags={"git_commit": str(provenance["git_commit"])},
        dataset=dataset_facts(dataset),
        example=[[GOLDEN_RECORDING]],
    )
    registered = register(record, tracker, background, progress)
    return SpeechCandidate(package, registered, report, (source, *dataset.files))


def _evaluate(transcriber: Transcriber, dataset: Dataset, tools: SpeechTools) -> _Evaluation:
    evaluation = _Evaluation()
    pairs = list(zip(dataset.rows(), dataset.target, dataset.files[1:]))
    for (name, language, _), reference, file in tools.watch(pairs):
        start = time.perf_counter()
        samples = _decode_file(transcriber, file, language or None)
        transcription = transcriber.transcribe(samples, language or None)
        evaluation.seconds += time.perf_counter() - start
        evaluation.audio_seconds += transcription.duration
        errors = tools.count_errors(
            reference, transcription.text, language or transcription.language
        )
        evaluation.errors.append(errors)
        evaluation.rows.append(
            {
                "recording": name,
                "language": transcription.language,
                "duration_seconds": transcription.duration,
                "said": reference,
                "heard": transcription.text,
                **asdict(errors),
            }
        )
    if evaluation.report and not evaluation.report.words:
        raise DataError(f"the texts in {dataset.source} have no words: no errors can be counted")
    return evaluation


def _decode_file(transcriber: Transcriber, file: Path, language: str | None = None) -> np.ndarray:
    try:
        return transcriber.decode(file.read_bytes(), language)
    except InputError as error:
        raise DataError(f"{file}: {error}") from error


def _write_golden(
    draft: PackageDraft, transcriber: Transcriber, dataset: Dataset, tools: SpeechTools
) -> str:
    """Write the first recording of the manifest, or a tone, and its first words."""
    rate = transcriber.input.sample_rate
    files = dataset.files[1:2]
    samples = _tone(rate)
    if files:
        samples = _decode_file(transcriber, files[0])[: _GOLDEN_SECONDS * rate]
    path = draft.folder / GOLDEN_RECORDING
    tools.write_flac(path, samples, rate)
    words = transcriber.engine.first_words(_decode_file(transcriber, path))  # as a server does
    draft.write_json("golden.json", {"rows": [[GOLDEN_RECORDING]], "answers": [[words]]})
    return words


def _tone(rate: int, seconds: float = 3.0) -> np.ndarray:
    """A tone that rises from 200 to 2,000 Hz, float32 of shape (seconds · rate,)."""
    time_ = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * (200 * time_ + 900 / seconds * time_**2)
    return (0.5 * np.sin(phase)).astype(np.float32)


def _metrics(evaluation: _Evaluation, weights: Mapping[str, Any]) -> dict[str, float]:
    metrics = {
        "parameters": float(weights["parameters"]),
        "checkpoint_bytes": float(weights["bytes"]),
    }
    if evaluation.report:
        metrics["word_error_rate"] = evaluation.report.rate
        metrics["audio_seconds"] = evaluation.audio_seconds
        metrics["real_time_factor"] = evaluation.seconds / evaluation.audio_seconds
    return metrics


def _card(
    spec: ModelSpec,
    config: TrainingConfig,
    recipe: Any,
    weights: Mapping[str, Any],
    evaluation: _Evaluation,
) -> str:
    if evaluation.report:
        quality = (
            f"Measured on {evaluation.audio_seconds:.0f} seconds of audio: {evaluation.report}. "
            "It is unknown whether the\nweights were trained on some of these recordings."
        )
    else:
        quality = (
            "Not measured: the configuration names no manifest of recordings (`data.manifest`)."
        )
    source = markdown_text(weights["source"])
    return f"""# {config.model_name} {config.version}

{markdown_text(spec.description)}

Nothing was trained here. The weights come from {source} (SHA-256 `{weights["sha256"]}`,
{weights["parameters"]:,} parameters) and are decoded by openai-whisper: task {recipe.task},
language {markdown_text(recipe.language or "recognised from the first 30 seconds")}.

## Quality

{quality}

Whisper can invent words where nobody speaks. Digital silence returns an empty text; noise and music
are not recognised as such.
"""
