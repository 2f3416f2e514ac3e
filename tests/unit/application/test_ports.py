"""The fakes of the tests keep the protocols that they stand for."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, replace

import pytest

from application import ports
from infrastructure.packaging.model_package import PackageDraft
from tests import fakes

PAIRS = [
    (ports.Framework, fakes.FakeFramework),
    (ports.Loader, fakes.FakeLoader),
    (ports.DrawFigures, fakes.FakeDrawFigures),
    (ports.PackageDraft, PackageDraft),  # the real one: it writes where a test says
    (ports.Tracker, fakes.FakeTracker),
    (ports.Registry, fakes.FakeRegistry),
    (ports.Ledger, fakes.FakeLedger),
    (ports.PredictionLog, fakes.FakePredictionLog),
    (ports.MetricsSink, fakes.FakeMetrics),
]


def methods(kind: type) -> dict[str, inspect.Signature]:
    """Signatures of the methods that a class defines itself."""
    members = inspect.getmembers(kind, inspect.isfunction)
    own = {name for name in vars(kind) if name == "__call__" or not name.startswith("_")}
    return {name: inspect.signature(member) for name, member in members if name in own}


@pytest.mark.parametrize(("port", "fake"), PAIRS)
def test_a_fake_has_every_method_of_its_port_with_the_same_parameters(
    port: type, fake: type
) -> None:
    wanted = methods(port)
    assert wanted
    assert {name: methods(fake).get(name) for name in wanted} == wanted


def test_every_port_has_a_fake() -> None:
    protocols = {
        item
        for _, item in inspect.getmembers(ports, inspect.isclass)
        if getattr(item, "_is_protocol", False) and item.__module__ == ports.__name__
    }
    assert protocols == {port for port, _ in PAIRS}


def test_a_logged_prediction_cannot_be_changed() -> None:
    prediction = fakes.logged_prediction("a", fakes.SETOSA)
    with pytest.raises(FrozenInstanceError):
        setattr(prediction, "predicted", 2)


@pytest.mark.parametrize("confidence", [0.8, None])
def test_batches_that_are_joined_have_every_row_in_its_order(confidence: float | None) -> None:
    predictions = [
        replace(fakes.logged_prediction(name, fakes.SETOSA, row=row), confidence=confidence)
        for name, row in (("a", 0), ("a", 1), ("b", 0), ("c", 0))
    ]
    joined = ports.PredictionBatch.join(
        [fakes.batch_of(*predictions[:3]), fakes.batch_of(*predictions[3:])]
    )
    assert [joined.prediction(position) for position in range(4)] == predictions
    assert list(joined.request_ids) == ["a", "b", "c"]
