"""References and code in documents are valid; the lock and pyproject name no package source."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from contextlib import closing
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import black
import numpy as np
import pandas as pd
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from application.inference.predictor import Predictor
from application.inference.protocols.lines import PredictionLines
from application.inference.protocols.rest import RestApi
from application.inference.protocols.transcription import TranscriptionApi
from application.inference.transcriber import Transcriber
from application.monitoring.recorder import PredictionRecorder
from application.scaffold.model_file import model_paths
from application.training.config import TrainingConfig, WatchConfig
from domain import catalog
from domain.catalog import CatalogModel
from infrastructure.frameworks.dispatch import Frameworks
from infrastructure.inference.loading import load_served
from infrastructure.monitoring.metrics.families import definitions
from infrastructure.monitoring.metrics.process_metrics import process_metrics
from infrastructure.monitoring.metrics.service_metrics import ServiceMetrics
from infrastructure.monitoring.stack.dashboards import DASHBOARDS
from shared.paths import ROOT
from shared.settings import ServingSettings
from tests import petals
from tests.fakes import FakeClassifier, FakeMetrics, FakePredictionLog, FakeRecorder
from tests.speech_fakes import SPEC, FakeEngine, fake_decode
from tests.template.adopt import EXAMPLES
from tests.template.makefiles import HELP, MAKEFILES

TRANSLATIONS = sorted(path.name for path in ROOT.glob("README.*.md"))
READMES = ["README.md", *TRANSLATIONS]
WRITTEN = [*READMES, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
DOCUMENTS = [
    *WRITTEN,
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
]

TARGETS = HELP.keys()
GENERATED = [
    line.strip("/")
    for line in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    if line and not line.startswith("#") and "*" not in line
]
TOP = {path.name for path in ROOT.iterdir()} | {name.split("/")[0] for name in GENERATED}
SOURCE = re.compile(r"\.(py|sh|md|ipynb|toml|lock|ya?ml)")

FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)(?: [^)]*)?\)")
VARIABLE = re.compile(r"\b([A-Z][A-Z_]+)=")
TABLE = re.compile(r"^\|(?:-+\|)+\n((?:\|.*\n)+)", re.MULTILINE)
ENDPOINT = re.compile(r"(?:^\| (?:GET|POST)[^/|]*|127\.0\.0\.1:3000)(/[a-z_]+)", re.MULTILINE)
PLAIN_PATH = re.compile(r"\.?[\w-][\w./-]*")
IN_A_PACKAGE = {"card.md", "model.yaml"}  # files of a model package
# models of users need not be in the READMEs, and may replace shipped ones
EXPECTED = {  # files that users write or may remove
    "README.zh-TW.md",
    "iris.yaml",
    *(
        path.as_posix()
        for name in ("churn", "shapes", "tickets", *EXAMPLES)
        for path in (*model_paths(name, Path()), Path(f"docs/{name}.md"))
    ),
}
INDEX = "docs/README.md"
GUIDE = "docs/new-model.md"
BENTOML_PATHS = {"/metrics", "/livez", "/readyz"}
OTHER_PROTOCOLS = {"/invocations", "/v", "/vertex"}  # which test_protocols_page.py compares


def read(name: str) -> str:
    """The text of a document, which must exist and not be empty."""
    path = ROOT / name
    assert path.is_file(), f"{name} is missing"
    text = path.read_text("utf-8")
    assert text.strip(), f"{name} is empty"
    return text


def blocks(text: str, language: str) -> list[str]:
    """Fenced code in a language."""
    return [block for _, found, block in FENCE.findall(text) if found == language]


def code_lines(text: str) -> list[str]:
    """Code in backticks and lines of fenced code, without comments."""
    fenced = [line for _, _, block in FENCE.findall(text) for line in block.splitlines()]
    spans = SPAN.findall(FENCE.sub("", text))
    return [re.sub(r"(^|\s)#.*", "", line) for line in [*fenced, *spans]]


def make_targets(text: str) -> set[str]:
    """The targets of every call of make in the code of a document."""
    found = set()
    for line in code_lines(text):
        for call in re.findall(r"(?:^|[\s;&|(])make((?: +[^\s;&|)]+)+)", line):
            for word in call.split():
                if re.fullmatch(r"[a-z][a-z-]*", word):
                    found.add(word)
                elif not re.fullmatch(r"-\w+|\w+=\S*", word):
                    break
    return found


def is_path(word: str) -> bool:
    """Whether code in backticks is a path in the repository."""
    if not PLAIN_PATH.fullmatch(word) or word in IN_A_PACKAGE:
        return False
    if "/" in word:
        return word.split("/")[0] in TOP or bool(SOURCE.search(word))
    return bool(SOURCE.fullmatch(Path(word).suffix))


def repository_paths(text: str) -> set[str]:
    """Paths in the code and the links of a document, as written."""
    words = {word.rstrip(",:;.") for line in code_lines(text) for word in line.split()}
    return {word for word in words if is_path(word)}


def links(text: str) -> set[str]:
    """Links to files, without anchors."""
    targets = {target.partition("#")[0] for target in LINK.findall(FENCE.sub("", text))}
    return {target for target in targets if target and not re.match(r"\w+:", target)}


def pages_without_link(name: str, text: str) -> set[str]:
    """Paths of Markdown pages that a document mentions without a link."""
    prose = re.sub(r"\[[^]]*\]\([^)\s]+\)", "", FENCE.sub("", text))
    folders = (ROOT, (ROOT / name).parent)
    paths = re.findall(r"(?<![\w./-])[\w./-]+\.md\b", prose)
    return {path for path in paths if any((folder / path).is_file() for folder in folders)}


def is_generated(path: str) -> bool:
    """Whether .gitignore lists a path or one of its folders."""
    return any(path.strip("/") == name or path.startswith(f"{name}/") for name in GENERATED)


def exists(path: str) -> bool:
    """Whether a path, or a source file of that name, exists or is generated."""
    if (ROOT / path).exists() or is_generated(path) or path in EXPECTED:
        return True
    folders = ("domain", "application", "infrastructure", "shared", "scripts", "tests", "docs")
    return "/" not in path and any(any((ROOT / folder).rglob(path)) for folder in folders)


def first_cells(text: str) -> list[str]:
    """The first cell of every table row, without headers."""
    rows = [row for table in TABLE.findall(text) for row in table.splitlines()]
    return [row.split("|")[1].strip() for row in rows]


@cache
def rest_paths() -> set[str]:
    """The paths of the REST API of a classifier, as in the tutorial."""
    log, metrics = FakePredictionLog(), FakeMetrics()
    predictor = Predictor(petals.SPEC, FakeClassifier(), FakeRecorder())
    with closing(PredictionRecorder(petals.SPEC, metrics, log)) as recorder:
        rest = RestApi("petals", "1", predictor, recorder, log, metrics, dict).routes()
    return {*rest, *PredictionLines(predictor, 1).routes()}


def is_endpoint(path: str) -> bool:
    """Whether a service has this endpoint."""
    transcriber = Transcriber(SPEC, FakeEngine(), fake_decode)
    spoken = TranscriptionApi("speech", "1", transcriber, lambda *_: "").routes()
    return path in rest_paths() or path in spoken


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_in_a_document_exists(name: str) -> None:
    assert make_targets(read(name)) - TARGETS == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_in_a_document_exists(name: str) -> None:
    assert sorted(path for path in repository_paths(read(name)) if not exists(path)) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_in_a_document_has_a_target(name: str) -> None:
    folder = (ROOT / name).parent
    paths = {os.path.relpath(folder / link, ROOT) for link in links(read(name))}
    assert sorted(path for path in paths - EXPECTED if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_pages_are_mentioned_as_links_and_not_as_bare_paths(name: str) -> None:
    assert pages_without_link(name, read(name)) == set()


def test_the_index_links_every_page() -> None:
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")} - {ROOT / INDEX}
    assert pages <= {(ROOT / "docs" / link).resolve() for link in links(read(INDEX))}
    assert all(INDEX in links(read(name)) for name in READMES)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_variable_set_in_a_document_is_read_somewhere(name: str) -> None:
    readers = [*MAKEFILES, *(ROOT / "shared").glob("*.py")]
    read_here = set(re.findall(r"\w+", " ".join(path.read_text("utf-8") for path in readers)))
    prefix = ServingSettings.model_config["env_prefix"]
    read_here |= {f"{prefix}{field}".upper() for field in vars(ServingSettings())}
    variables = {variable for line in code_lines(read(name)) for variable in VARIABLE.findall(line)}
    assert sorted(variables - read_here - {"PATH"}) == []  # the shell reads PATH


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_in_a_document_is_formatted_by_black(name: str) -> None:
    for block in blocks(read(name), "python"):
        compile(block, name, "exec")
        assert black.format_str(block, mode=black.Mode(line_length=100)) == block


def test_the_model_of_the_guide_accepts_its_configuration() -> None:
    (_, module), (config,) = (blocks(read(GUIDE), language) for language in ("python", "json"))
    names: dict[str, Any] = {}
    exec(module, names)  # pylint: disable=exec-used  # of this clone
    model = cast(CatalogModel, SimpleNamespace(**names))
    checked = TrainingConfig.model_validate(json.loads(config))
    model.build(**checked.build_arguments(model))
    assert checked.load_arguments(model) == {"path": "shapes.npz"}
    assert checked.data.share_and_seed == (0.2, 42)


def test_the_recipe_for_text_next_to_numbers_learns_and_is_exported(tmp_path: Path) -> None:
    module, _ = blocks(read(GUIDE), "python")
    path = tmp_path / "tickets.py"
    path.write_text(module, "utf-8")
    model = cast(CatalogModel, SimpleNamespace(**runpy.run_path(str(path))))
    urgent = np.random.default_rng(0).random(300) < 0.5
    frame = pd.DataFrame({"waited": np.arange(300) % 50, "reply": np.where(urgent, "now", "later")})
    words = np.where(urgent, "it is urgent ", "no hurry ")
    frame["message"] = words + frame.index.to_numpy().astype(str)
    frame.to_csv(tmp_path / "tickets.csv", index=False)
    dataset, spec = model.load(path=str(tmp_path / "tickets.csv")), model.SPEC
    rows, actual = dataset.encoded(spec), dataset.encoded_target(spec)
    estimator = model.build(inverse_strength=1.0).fit(rows[:200], actual[:200])
    assert estimator.score(rows[200:], actual[200:]) > 0.95
    Frameworks().export(estimator, spec, tmp_path / "model.onnx")
    served = load_served(tmp_path / "model.onnx", spec)(rows)
    np.testing.assert_allclose(served, estimator.predict_proba(rows), atol=1e-6)


def test_the_code_about_the_tutorials_collector_works(tmp_path: Path) -> None:
    section = read("docs/monitoring.md").split("\n## The tutorial's collector\n")[1]
    code = "\n".join(blocks(section.split("\n## ")[0], "python")).replace("port=8000", "port=0")
    code += "\nprint(scores['petal_length'])\n"
    # a process of its own, as it uses the registry of the process
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert 0 < float(done.stdout.split()[-1]) < 0.2
    exported = json.loads((tmp_path / "build/metrics.json").read_text("utf-8"))
    assert exported["metrics_summary"]["class_distribution"] == {"setosa": 1}


@pytest.mark.parametrize("name", [*READMES, "docs/models.md"])
def test_every_shipped_model_is_listed(name: str) -> None:
    cells = {cell.strip("`") for cell in first_cells(read(name))}
    assert {*EXAMPLES} & set(catalog.names()) <= cells


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [
        ("README.md", "/classify_json"),
        ("docs/protocols.md", "/predict"),
        *(("docs/speech.md", "/transcribe") for page in DOCUMENTS if page == "docs/speech.md"),
    ],
)
def test_every_endpoint_in_a_document_exists(name: str, endpoint: str) -> None:
    named = set(ENDPOINT.findall(read(name)))
    assert endpoint in named
    assert (
        sorted(path for path in named - BENTOML_PATHS - OTHER_PROTOCOLS if not is_endpoint(path))
        == []
    )


def metric_rows() -> list[str]:
    """The table of a service's metrics: those that its code defines, then those of processes."""
    registry = CollectorRegistry()
    ServiceMetrics("iris", "1", ("setosa",), registry)
    ServiceMetrics("house", "1", ("price",), registry, value_buckets=(1.0,))
    rows = [
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | "
        f"{each.documentation} |"
        for each in definitions(registry)
    ]
    for each in text_string_to_metric_families(process_metrics()):
        name = each.name + "_total" * (each.type == "counter")
        rows.append(f"| `{name}` | {each.type} | | {each.documentation} |")
    return rows


def test_the_page_on_monitoring_lists_exactly_the_metrics_of_a_service() -> None:
    text = read("docs/monitoring.md").partition("## Metrics")[2]
    table = TABLE.search(text)
    assert table and table[1].splitlines() == metric_rows()


def test_the_page_on_monitoring_explains_every_alert() -> None:
    text = read("docs/monitoring.md").partition("### Alerts")[2]
    table = TABLE.search(text)
    rules = (ROOT / "infrastructure/monitoring/stack/files/rules.yml").read_text("utf-8")
    alerts = dict.fromkeys(re.findall(r"alert: (\w+)", rules))
    assert table and re.findall(r"^\| `(\w+)`", table[1], re.MULTILINE) == list(alerts)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_serve_a_bento_like_the_integration_tests(name: str) -> None:
    """BentoML finds a Bento that is its first argument by an absolute path only."""
    for arguments in re.findall(r"bentoml serve ([^`\n]*build/[^`\n]*)", read(name)):
        assert arguments.startswith(". --working-dir build/")


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_a_translation_has_the_same_code_and_tables(name: str) -> None:
    english, translated = read("README.md"), read(name)
    for language in ("bash", "text"):
        assert blocks(english, language) == blocks(translated, language)
    assert first_cells(english) == first_cells(translated)
    assert english.count("\n## ") == translated.count("\n## ")


@pytest.mark.parametrize("name", READMES)
def test_every_readme_names_the_same_targets(name: str) -> None:
    targets = make_targets(read(name))
    assert targets == make_targets(read("README.md"))
    assert {"quickstart", "new-model", "test", "deploy", "adopt"} <= targets


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_a_translation_and_the_readme_link_each_other_and_the_same_pages(name: str) -> None:
    english, translated = links(read("README.md")), links(read(name))
    assert name in english and "README.md" in translated
    assert english - {*READMES} == translated - {*READMES}


SAMPLE = """
Run `make train`, make sure that it works, and read `docs/no_such_file.md` or [this](no/such.md#part).
```bash
make -B train MODEL=petals THRESHOLD=0.9 validate   # then make coffee STRONG=1
curl http://127.0.0.1:3000/no_such_endpoint
cd somewhere && make no-such-target | tee log
poetry run python application/no_such_file.py --model-path build/petals
```
See `GET /classify`, `a/b`, `domain/models/<name>.py`, `mlflow.db`, `nowhere.py` and `settings.py`,
[a page](https://example.org/a.md), `pip install make`.
"""


def test_targets_are_read_from_code_and_not_from_prose_or_comments() -> None:
    assert make_targets(SAMPLE) == {"train", "validate", "no-such-target"}


def test_paths_are_read_from_code_and_links_without_placeholders() -> None:
    found = repository_paths(SAMPLE)
    assert {path for path in found if not exists(path)} == {
        "docs/no_such_file.md",
        "application/no_such_file.py",
        "nowhere.py",
    }
    assert {"build/petals", "settings.py"} <= found
    assert links(SAMPLE) == {"no/such.md"}


def test_bare_paths_of_pages_are_found_in_code_and_prose_but_links_are_ignored() -> None:
    text = "See `docs/gates.md`, [docs/new-model.md](new-model.md) and serving.md, or `a.md`."
    assert pages_without_link(GUIDE, text) == {"docs/gates.md", "serving.md"}


def test_variables_endpoints_and_tables_are_read() -> None:
    assert {name for line in code_lines(SAMPLE) for name in VARIABLE.findall(line)} == {
        "MODEL",
        "THRESHOLD",
    }
    assert ENDPOINT.findall(SAMPLE + "| GET, POST /livez | a/b |\n") == [
        "/no_such_endpoint",
        "/livez",
    ]
    assert not is_endpoint("/no_such_endpoint")
    assert first_cells("| make | does |\n|---|---|\n| `a` | b |\n| c | d |\n") == ["`a`", "c"]
    assert blocks(SAMPLE, "bash")[0].startswith("make -B")
    assert blocks(SAMPLE, "python") == []


def test_the_lock_names_no_package_source() -> None:
    text = (ROOT / "poetry.lock").read_text("utf-8")
    lines = [line for line in text.splitlines() if "://" in line]
    assert [line for line in lines if not line.startswith("description = ")] == []
    lock = tomllib.loads(text)
    assert len(lock["package"]) > 50
    for package in lock["package"]:
        assert "source" not in package, package["name"]
        for file in package["files"]:
            assert set(file) == {"file", "hash"}, package["name"]
            assert file["hash"].startswith("sha256:"), package["name"]


def test_pyproject_names_no_package_source() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    project = tomllib.loads(text)
    assert "source" not in project["tool"]["poetry"]
    assert not re.search(r"\b(git|url|path)\s*=|index-url|@ *(https?|git)", text)


def test_the_lock_matches_pyproject() -> None:
    poetry = ROOT / ".poetry/bin/poetry"
    if not poetry.exists():
        pytest.skip("Poetry is not in .poetry: scripts/setup/setup_poetry.sh puts it there")
    done = subprocess.run(
        [poetry, "check", "--lock"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_units_of_the_watch_are_valid(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze") or pytest.skip("systemd-analyze is not on PATH")
    service, timer = blocks(read("docs/monitoring.md"), "ini")
    (tmp_path / "watch-iris.service").write_text(service, encoding="utf-8")
    (tmp_path / "watch-iris.timer").write_text(timer, encoding="utf-8")
    for unit in ("watch-iris.service", "watch-iris.timer"):
        done = subprocess.run(
            (analyze, "verify", "--user", "--man=no", unit),
            cwd=tmp_path,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and unit not in done.stderr, done.stderr


def test_the_policy_in_the_docs_is_valid() -> None:
    (policy,) = blocks(read("docs/monitoring.md"), "json")
    WatchConfig.model_validate(json.loads(f"{{{policy}}}")["watch"])


def test_the_page_on_monitoring_lists_every_panel() -> None:
    panels = [
        f"| {title} | {panel.title} | " for title, panels in DASHBOARDS.items() for panel in panels
    ]
    table = read("docs/monitoring.md").partition("| Dashboard | Panel | Series |\n|---|---|---|\n")[
        2
    ]
    listed = table.partition("\n\n")[0].splitlines()
    assert [line[: line.rindex("|", 0, -1) + 2] for line in listed] == panels
