"""The fakes of the tests implement their ports."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

from application import ports
from application.ports import (
    alerts,
    figures,
    framework,
    ledger,
    metrics,
    model,
    package_draft,
    prediction_log,
    recorder,
    registry,
    snapshots,
    tracker,
)
from infrastructure.packaging.model_package import PackageDraft
from tests import fakes

PAIRS = [
    (framework.Framework, fakes.FakeFramework),
    (model.Loader, fakes.FakeLoader),
    (figures.DrawFigures, fakes.FakeDrawFigures),
    (package_draft.PackageDraft, PackageDraft),  # the real one: it writes where a test says
    (tracker.Tracker, fakes.FakeTracker),
    (snapshots.Snapshots, fakes.FakeSnapshots),
    (registry.VersionReader, fakes.FakeRegistry),
    (registry.VerdictWriter, fakes.FakeRegistry),
    (registry.Promoter, fakes.FakeRegistry),
    (registry.Registry, fakes.FakeRegistry),
    (ledger.Ledger, fakes.FakeLedger),
    (prediction_log.PredictionWriter, fakes.FakePredictionLog),
    (prediction_log.LabelStore, fakes.FakePredictionLog),
    (prediction_log.BulkLabelStore, fakes.FakePredictionLog),
    (prediction_log.PredictionStatistics, fakes.FakePredictionLog),
    (prediction_log.PredictionReader, fakes.FakePredictionLog),
    (prediction_log.RecentPredictions, fakes.FakePredictionLog),
    (prediction_log.FeedbackLog, fakes.FakePredictionLog),
    (recorder.Recorder, fakes.FakeRecorder),
    (metrics.PredictionMetrics, fakes.FakeMetrics),
    (metrics.QualityMetrics, fakes.FakeMetrics),
    (metrics.DriftMetrics, fakes.FakeMetrics),
    (alerts.Notifier, fakes.FakeNotifier),
    (alerts.WatchStore, fakes.FakeWatchStore),
]


def methods(kind: type) -> dict[str, inspect.Signature]:
    """Signatures of the public methods of a class."""
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if name == "__call__" or not name.startswith("_")
    }


@pytest.mark.parametrize(("port", "fake"), PAIRS)
def test_a_fake_has_every_method_of_its_port_with_the_same_parameters(
    port: type, fake: type
) -> None:
    wanted = methods(port)
    assert wanted
    assert {name: methods(fake).get(name) for name in wanted} == wanted


def test_every_port_has_a_fake() -> None:
    modules = [
        importlib.import_module(f"{ports.__name__}.{found.name}")
        for found in pkgutil.iter_modules(ports.__path__)
    ]
    protocols = {
        item
        for module in modules
        for _, item in inspect.getmembers(module, inspect.isclass)
        if getattr(item, "_is_protocol", False) and item.__module__ == module.__name__
    }
    assert protocols == {port for port, _ in PAIRS}
