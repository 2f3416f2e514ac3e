"""A small Whisper checkpoint through the whole chain of make, and served.

Its weights are random, so its transcripts are meaningless; they must equal those of Whisper called
directly on the same samples.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

whisper = pytest.importorskip("whisper", reason="make install EXTRAS=whisper")
soundfile = pytest.importorskip("soundfile", reason="make install EXTRAS=whisper")
pytest.importorskip("jiwer", reason="make install EXTRAS=whisper")
# pylint: disable=wrong-import-position
from application.inference.api_keys import entry_of, new_key
from application.training.config import config_path
from domain.errors import PackageError
from infrastructure.inference.audio import decode
from infrastructure.inference.whisper_engine import open_package
from infrastructure.packaging.model_package import MANIFEST, ModelPackage
from infrastructure.tracking.mlflow_tracker import open_client
from tests.served import Home, MakeHome, free_port, serve
from tests.whisper_checkpoint import RATE, sound, write_checkpoint

TOKENS = 12
SECONDS = 4
FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "mp3": "MPEG_LAYER_III", "ogg": "VORBIS"}


@dataclass(frozen=True)
class Packaged:
    """A home with a packaged transcriber, its checkpoint, recordings and configuration."""

    home: Home
    checkpoint: Path
    manifest: Path
    config: Path

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make with this checkpoint."""
        weights = f"WHISPER_MODEL={self.checkpoint}"
        return self.home.make(*arguments, "MODEL=speech", f"CONFIG={self.config}", weights)

    def receipt(self, step: str) -> Any:
        """The receipt of a step."""
        return json.loads((self.receipts / f"{step}.json").read_text(encoding="utf-8"))

    @property
    def receipts(self) -> Path:
        """Folder of the receipts."""
        return self.home.receipts_of("speech")

    @property
    def package(self) -> Path:
        """Folder of the package."""
        return Path(self.receipt("train")["package"])

    def whisper_transcribes(self, samples: np.ndarray, language: str | None = None) -> Any:
        """The result of Whisper called directly."""
        model = whisper.load_model(str(self.checkpoint), "cpu")
        return whisper.transcribe(
            model, samples, language=language, temperature=0.0, sample_len=TOKENS, fp16=False
        )


def recording(samples: np.ndarray, kind: str, rate: int = RATE) -> bytes:
    """The bytes of an audio file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind.upper(), subtype=FORMATS[kind])
    return file.getvalue()


@pytest.fixture(scope="module", name="packaged")
def fixture_packaged(make_home: MakeHome, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """The checkpoint as champion, with a Bento."""
    folder = tmp_path_factory.mktemp("speech")
    checkpoint = write_checkpoint(folder / "small.pt")
    manifest = folder / "manifest.jsonl"
    lines = []
    for number, (kind, text) in enumerate([("flac", "hello there"), ("mp3", "good bye")]):
        file = folder / f"{number}.{kind}"
        file.write_bytes(recording(sound(2 + number), kind))
        lines.append(json.dumps({"audio": file.name, "text": text, "language": "en"}))
    manifest.write_text("\n".join(lines), encoding="utf-8")
    settings = json.loads(config_path("speech").read_text(encoding="utf-8"))
    settings["model"] |= {"max_tokens": TOKENS, "beam_size": None, "temperatures": [0.0]}
    settings["data"]["manifest"] = str(manifest)
    settings["validation"]["threshold"] = -100  # random transcripts have more errors than words
    config = folder / "config.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    made = Packaged(make_home(folder / "home"), checkpoint, manifest, config)
    done = made.make("bento-build")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="module", name="bento")
def fixture_bento(packaged: Packaged) -> Path:
    """The exported Bento."""
    return packaged.receipts / "bento"


@pytest.fixture(scope="module", name="service")
def fixture_service(
    bento: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client for the served Bento."""
    home = tmp_path_factory.mktemp("service")
    with serve(bento, home, workers=1, OMP_NUM_THREADS="1") as url:
        with httpx.Client(base_url=url, timeout=120) as client:
            yield client


def send(client: httpx.Client, content: Any, kind: str = "wav", **options: str) -> httpx.Response:
    """Send a recording as the body."""
    headers = {"content-type": f"audio/{kind}"}
    return client.post("/transcribe", params=options, content=content, headers=headers)


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    """Sum of the samples of a metric with these labels."""
    total = 0.0
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(f"{name}{{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def test_the_package_has_the_weights_and_the_word_errors(packaged: Packaged) -> None:
    package = ModelPackage(packaged.package)
    metrics = package.read_json("metrics.json")
    assert metrics["word_error_rate"] > 0
    assert metrics["words"] == 4
    assert [row["said"] for row in metrics["utterances"]] == ["hello there", "good bye"]
    assert [row["language"] for row in metrics["utterances"]] == ["en", "en"]
    samples = decode(packaged.manifest.with_name("0.flac").read_bytes(), RATE, 60)
    transcript = packaged.whisper_transcribes(samples, "en")["text"].strip()
    assert metrics["utterances"][0]["heard"] == transcript
    assert (package.folder / "model.pt").read_bytes() == packaged.checkpoint.read_bytes()


def test_the_bento_requires_whisper_and_no_training_library(bento: Path) -> None:
    text = (bento / "env/python/requirements.txt").read_text(encoding="utf-8")
    required = {line.partition("==")[0] for line in text.split()}
    assert required >= {"bentoml", "numpy", "openai-whisper", "torch", "soundfile", "soxr"}
    assert not required & {"mlflow", "scikit-learn", "pandas", "jiwer", "tensorflow", "onnx"}
    assert "+cpu" not in text
    assert not (bento / "src/domain/models/speech.py").exists()


@pytest.mark.parametrize("rate", [RATE, 44_100])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_transcribed_as_by_whisper(
    service: httpx.Client, packaged: Packaged, kind: str, rate: int
) -> None:
    file = recording(sound(SECONDS, rate), kind, rate)
    response = send(service, file, kind)
    assert response.status_code == 200, response.text
    expected = packaged.whisper_transcribes(decode(file, RATE, 60))
    actual = response.json()
    assert actual["text"] == expected["text"].strip()
    assert actual["language"] == expected["language"]
    assert actual["duration_seconds"] == pytest.approx(SECONDS, abs=0.1)
    segments = [segment for segment in expected["segments"] if segment["text"].strip()]
    assert [s["text"] for s in actual["segments"]] == [s["text"].strip() for s in segments]
    for found, segment in zip(actual["segments"], segments):
        assert found["start"] == min(segment["start"], actual["duration_seconds"])
        assert found["end"] == min(segment["end"], actual["duration_seconds"])


def test_a_form_and_a_body_give_the_same_transcript_every_time(
    service: httpx.Client, packaged: Packaged
) -> None:
    file = recording(sound(SECONDS), "flac")
    form = service.post("/transcribe", files={"file": ("a.flac", file, "audio/flac")}).json()
    body, again = send(service, file, "flac").json(), send(service, file, "flac").json()
    for transcript in (body, again):
        assert transcript["segments"] == form["segments"]
        assert transcript["text"] == form["text"] != ""
    assert form["model_name"] == "speech_transcriber"
    assert form["version"] == packaged.receipt("validate")["version"]


def test_a_recording_of_70_seconds_is_transcribed_in_windows(
    service: httpx.Client, packaged: Packaged
) -> None:
    file = recording(sound(70), "flac")
    transcript = send(service, file, "flac").json()
    expected = packaged.whisper_transcribes(decode(file, RATE, 100))
    assert transcript["text"] == expected["text"].strip()
    assert transcript["duration_seconds"] == 70
    starts = [segment["start"] for segment in transcript["segments"]]
    assert starts == sorted(starts)
    assert max(starts) > 30
    assert max(segment["end"] for segment in transcript["segments"]) <= 70


def test_silence_gives_an_empty_transcript(service: httpx.Client) -> None:
    result = send(service, recording(np.zeros(RATE * 3, np.float32), "ogg"), "ogg").json()
    assert (result["text"], result["segments"], result["language"]) == ("", [], None)
    assert result["duration_seconds"] == pytest.approx(3, abs=0.1)


def test_a_requested_language_is_used(service: httpx.Client, packaged: Packaged) -> None:
    file = recording(sound(SECONDS), "flac")
    result = send(service, file, "flac", language="de").json()
    expected = packaged.whisper_transcribes(decode(file, RATE, 60), "de")
    assert (result["language"], result["text"]) == ("de", expected["text"].strip())


def test_subtitles_have_the_times_of_the_segments(service: httpx.Client) -> None:
    file = recording(sound(40), "flac")
    segments = send(service, file, "flac").json()["segments"]
    srt = send(service, file, "flac", format="srt")
    vtt = send(service, file, "flac", format="vtt")
    assert srt.headers["content-type"].startswith("application/x-subrip")
    assert vtt.headers["content-type"].startswith("text/vtt")
    assert srt.text.count(" --> ") == vtt.text.count(" --> ") == len(segments) > 1
    assert srt.text.startswith("1\n00:00:")
    assert vtt.text.startswith("WEBVTT\n\n00:")
    milliseconds = round(segments[0]["end"] * 1000)
    shown = f"{milliseconds // 1000:02d},{milliseconds % 1000:03d}"
    assert shown in srt.text.splitlines()[1]
    text = send(service, file, "flac", format="text")
    assert text.headers["content-type"].startswith("text/plain")


def test_a_body_that_is_not_audio_is_refused_and_counted(service: httpx.Client) -> None:
    before = metric(service, "ml_prediction_errors_total", error_type="not_audio")
    response = send(service, os.urandom(20_000))
    assert response.status_code == 415
    assert "send WAV, FLAC, MP3 or OGG" in response.json()["error"]
    assert metric(service, "ml_prediction_errors_total", error_type="not_audio") == before + 1


def test_a_recording_longer_than_half_an_hour_is_refused(service: httpx.Client) -> None:
    file = recording(np.zeros(RATE * 1801, np.float32), "flac")
    response = send(service, file, "flac")
    assert response.status_code == 422
    assert "longer than 1800 seconds" in response.json()["error"]


def test_a_too_large_body_gets_a_413(service: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(65):
            yield bytes(2**20)

    assert send(service, chunks()).status_code == 413
    assert send(service, bytes(65 * 2**20)).status_code == 413


def test_transcriptions_are_counted(service: httpx.Client) -> None:
    before = metric(service, "ml_audio_seconds_total")
    counted = metric(service, "ml_transcriptions_total")
    send(service, recording(sound(SECONDS), "wav"))
    assert metric(service, "ml_audio_seconds_total") == before + SECONDS
    assert metric(service, "ml_transcriptions_total") == counted + 1
    assert metric(service, "ml_real_time_factor_count") == counted + 1


def test_concurrent_recordings_are_all_transcribed(service: httpx.Client) -> None:
    files = [recording(sound(3, hertz=200 + 50 * number), "flac") for number in range(6)]
    alone = [send(service, file, "flac").json()["text"] for file in files]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda file: send(service, file, "flac").json()["text"], files))
    assert together == alone


def test_health_check_probes_and_page_are_served(service: httpx.Client) -> None:
    health = service.get("/health_check").json()
    assert health == service.post("/health_check").json()
    assert health["status"] == "healthy"
    assert health["device"] in ("cpu", "cuda:0")
    for path in ("/livez", "/readyz", "/metrics", "/docs.json", "/"):
        assert service.get(path).status_code == 200, path
    assert "/transcribe" in service.get("/docs.json").json()["paths"]
    version = service.get("/docs.json").json()["info"]["version"]
    description = service.get("/docs.json").json()["info"]["description"]
    assert description.startswith("# speech\n") and "http" not in description
    assert f"<title>speech_transcriber {version}</title>" in service.get("/").text
    assert service.get("/card").text.startswith("# speech_transcriber ")


def test_api_keys_request_ids_and_the_access_log_work_as_in_other_services(
    bento: Path, tmp_path: Path
) -> None:
    key = new_key()
    settings = {
        "SERVING_API_KEYS": entry_of("client", key, ["predict"]),
        "SERVING_ACCESS_LOG": "true",
    }
    file = recording(sound(SECONDS), "flac")
    with serve(bento, tmp_path, workers=1, OMP_NUM_THREADS="1", **settings) as url:
        with httpx.Client(base_url=url, timeout=120) as client:
            assert client.get("/readyz").status_code == 200
            assert send(client, file, "flac").status_code == 401
            client.headers["x-api-key"] = key
            assert client.get("/docs.json").status_code == 403
            assert client.post("/nowhere").status_code == 404
            response = send(client, file, "flac")
    assert response.status_code == 200, response.text
    lines = [json.loads(line) for line in (tmp_path / "service.log").read_text().splitlines()]
    requests = [line for line in lines if line.get("path") == "/transcribe"]
    assert [line["status"] for line in requests] == [401, 200]
    request_id = response.headers["x-request-id"]
    assert requests[1]["request_id"] == response.json()["request_id"] == request_id


def test_a_package_with_other_weights_is_refused_even_with_a_forged_manifest(
    packaged: Packaged, tmp_path: Path
) -> None:
    forged = tmp_path / packaged.package.name
    shutil.copytree(packaged.package, forged)
    (forged / "model.pt").chmod(0o644)
    write_checkpoint(forged / "model.pt", seed=7)
    with pytest.raises(PackageError, match="model.pt differs from its digest"):
        ModelPackage(forged)
    manifest = forged / MANIFEST
    manifest.chmod(0o644)
    known = hashlib.sha256(packaged.checkpoint.read_bytes()).hexdigest()
    other = hashlib.sha256((forged / "model.pt").read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text("utf-8").replace(known, other), "utf-8")
    with pytest.raises(PackageError, match="transcribes its golden recording as"):
        open_package(ModelPackage(forged))
    assert open_package(ModelPackage(packaged.package)).describe()["n_mels"] == 80


def test_run_and_version_are_recorded_in_mlflow(packaged: Packaged) -> None:
    trained = packaged.receipt("train")
    client = open_client(packaged.home.environment["MLFLOW_TRACKING_URI"])
    run = client.get_run(trained["run_id"])
    assert run.data.metrics["word_error_rate"] > 0
    assert run.data.params["weights.source"] == packaged.checkpoint.name
    champion = client.get_model_version_by_alias("speech_transcriber", "champion")
    assert champion.tags["package_version"] == trained["version"]


def test_too_many_or_unmeasured_word_errors_are_refused(packaged: Packaged) -> None:
    refused = packaged.make("validate", "THRESHOLD=0.7")
    assert refused.returncode != 0
    assert "quality: word error rate" in refused.stdout
    packaged.make("validate")
    unmeasured = json.loads(packaged.config.read_text(encoding="utf-8"))
    unmeasured["data"]["manifest"] = None
    other = packaged.config.with_name("unmeasured.json")
    other.write_text(json.dumps(unmeasured), encoding="utf-8")
    home = replace(packaged.home, folder=packaged.home.folder.with_name("unmeasured"))
    weights = f"WHISPER_MODEL={packaged.checkpoint}"
    refused = home.make("validate", "MODEL=speech", f"CONFIG={other}", weights)
    assert refused.returncode != 0
    assert "name a manifest of recordings" in refused.stdout


def test_missing_weights_are_not_downloaded_by_default(make_home: MakeHome, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    chosen = ("MODEL=speech", "WHISPER_MODEL=base")
    done = home.make("train", *chosen, XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode != 0
    assert "WHISPER_DOWNLOAD=1" in done.stderr
    assert not list(tmp_path.rglob("*.pt"))


def test_a_transcriber_can_be_deployed_with_a_demo(packaged: Packaged) -> None:
    port = f"PORT={free_port()}"
    try:
        deployed = packaged.make("deploy", port)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        shown = packaged.make("demo", port)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert "POST /transcribe golden.flac" in shown.stdout
        assert 'ml_synthetic_requests_total{source="demo"} 0 → 1' in shown.stdout
    finally:
        packaged.make("stop", port)
