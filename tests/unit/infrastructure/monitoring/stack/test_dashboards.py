"""Dashboards have valid panels that show metrics which services have."""

from __future__ import annotations

import re

import pytest
import yaml
from prometheus_client import CollectorRegistry

from infrastructure.monitoring.metrics.families import definitions
from infrastructure.monitoring.metrics.process_metrics import process_metrics
from infrastructure.monitoring.metrics.service_metrics import ServiceMetrics
from infrastructure.monitoring.stack.configuration import FILES
from infrastructure.monitoring.stack.dashboards import DASHBOARDS, dashboard

PARTS = ("_bucket", "_count", "_sum")  # series of a histogram


def known_names() -> set[str]:
    """Names of the series of a service, and of those that the rules record."""
    registry = CollectorRegistry()
    ServiceMetrics("iris", "1", ("setosa",), registry)
    ServiceMetrics("house", "1", ("price",), registry, value_buckets=(1.0,))
    names = {"up"}
    for each in definitions(registry):
        is_histogram = each.kind == "histogram"
        names |= {each.name + part for part in PARTS} if is_histogram else {each.name}
    names |= set(re.findall(r"^(process_\w+) ", process_metrics(), re.MULTILINE))
    rules = yaml.safe_load((FILES / "rules.yml").read_text(encoding="utf-8"))
    return names | {
        rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule
    }


@pytest.mark.parametrize("title", DASHBOARDS)
def test_every_query_uses_metrics_that_a_service_has(title: str) -> None:
    names = known_names()
    for panel in DASHBOARDS[title]:
        for query, _ in panel.queries:
            used = set(re.findall(r"\b(?:up|(?:ml|process)[_:][\w:]+)(?=[{\[)])", query))
            assert used and used <= names, panel.title


@pytest.mark.parametrize("title", DASHBOARDS)
def test_panels_lie_side_by_side_and_have_titles_of_their_own(title: str) -> None:
    panels = dashboard(title)["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    titles, numbers = ({panel[key] for panel in panels} for key in ("title", "id"))
    assert len(places) == len(titles) == len(numbers) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@pytest.mark.parametrize("title", DASHBOARDS)
def test_queries_have_legends_and_follow_the_choices_of_the_dashboard(title: str) -> None:
    made = dashboard(title)
    choices = {f"${variable['name']}" for variable in made["templating"]["list"]}
    for panel in made["panels"]:
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["legendFormat"]
            assert set(re.findall(r"\$[a-z]+", target["expr"])) <= choices
            assert "$environment" in target["expr"]
