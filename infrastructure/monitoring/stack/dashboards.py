"""Grafana's dashboards of a service and of its model, as tables of panels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MODEL = '{environment=~"$environment", model_name=~"$model"}'
BY = "sum by (environment, model_name"


@dataclass(frozen=True)
class Panel:
    """A diagram.

    Attributes:
        queries: PromQL expressions, with the legend of their series. ``$environment`` and
            ``$model`` are chosen at the top of the dashboard.
        unit: Grafana's name of the unit.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"


def _rate(metric: str, by: str = "") -> str:
    return f"{BY}{by}) (rate({metric}{MODEL}[$__rate_interval]))"


def _quantile(quantile: float, by: str = "") -> str:
    buckets = _rate("ml_prediction_duration_seconds_bucket", f", le{by}")
    return f"histogram_quantile({quantile}, {buckets})"


def _mean(metric: str, by: str = "") -> str:
    return f"{_rate(f'{metric}_sum', by)} / {_rate(f'{metric}_count', by)}"


WHICH = "{{environment}} {{model_name}}"
OF_SERVICE = '{environment=~"$environment"}'

SERVICE = (
    Panel("Up", ((f"up{OF_SERVICE}", "{{environment}} {{instance}}"),)),
    Panel(
        "Requests per second", ((_rate("ml_prediction_duration_seconds_count"), WHICH),), "reqps"
    ),
    Panel(
        "Failed requests per second, by reason",
        ((_rate("ml_prediction_errors_total", ", error_type"), f"{WHICH} {{{{error_type}}}}"),),
        "reqps",
    ),
    Panel(
        "Share of requests that failed in the service",
        (
            (
                f"ml:requests_failed:rate5m{MODEL} / (ml:requests_failed:rate5m{MODEL} + "
                f"ml:requests_predicted:rate5m{MODEL})",
                WHICH,
            ),
        ),
        "percentunit",
    ),
    Panel(
        "Seconds per request",
        tuple((_quantile(q), f"{WHICH} {q:.0%}") for q in (0.5, 0.95, 0.99)),
        "s",
    ),
    Panel(
        "Share of requests above 0.1 s",
        ((f"ml:requests_slow:rate5m{MODEL} / ml:requests_predicted:rate5m{MODEL}", WHICH),),
        "percentunit",
    ),
    Panel(
        "CPU cores in use",
        (
            (
                f"rate(process_cpu_seconds_total{OF_SERVICE}[$__rate_interval])",
                "{{environment}} {{instance}}",
            ),
        ),
    ),
    Panel(
        "Memory",
        ((f"process_resident_memory_bytes{OF_SERVICE}", "{{environment}} {{instance}}"),),
        "bytes",
    ),
    Panel(
        "Share of open files",
        (
            (
                f"process_open_fds{OF_SERVICE} / process_max_fds{OF_SERVICE}",
                "{{environment}} {{instance}}",
            ),
        ),
        "percentunit",
    ),
    Panel(
        "Age of the newest process",
        ((f"time() - process_start_time_seconds{OF_SERVICE}", "{{environment}} {{instance}}"),),
        "s",
    ),
    Panel(
        "Rows that wait for the prediction log",
        ((f"ml_prediction_log_spooled_rows{MODEL}", WHICH),),
    ),
    Panel(
        "Rows missing in the prediction log, per second",
        ((_rate("ml_prediction_log_dropped_rows_total"), WHICH),),
    ),
)

MODELS = (
    Panel(
        "Predictions per second, by class",
        ((_rate("ml_predictions_total", ", class"), f"{WHICH} {{{{class}}}}"),),
    ),
    Panel(
        "Mean probability of the predicted class",
        ((_mean("ml_prediction_confidence", ", class"), f"{WHICH} {{{{class}}}}"),),
        "percentunit",
    ),
    Panel("Mean predicted value (regressions)", ((_mean("ml_prediction_value"), WHICH),)),
    Panel(
        "Quality on labelled predictions",
        (
            (f"ml_model_score{MODEL}", f"{WHICH} {{{{version}}}} {{{{measure}}}}"),
            (f"ml_model_score_bound{MODEL}", f"{WHICH} {{{{version}}}} {{{{bound}}}} bound, 95 %"),
            (f"ml_model_score_threshold{MODEL}", f"{WHICH} threshold of the gate"),
        ),
    ),
    Panel("Labelled predictions of 24 hours", ((f"ml_labelled_predictions{MODEL}", WHICH),)),
    Panel(
        "Quality estimated without labels",
        (
            (f"ml_model_estimated_score{MODEL}", f"{WHICH} {{{{version}}}} {{{{measure}}}}"),
            (
                f"ml_model_estimated_score_bound{MODEL}",
                f"{WHICH} {{{{version}}}} {{{{measure}}}} {{{{bound}}}} bound, 95 %",
            ),
            (f"ml_model_score_threshold{MODEL}", f"{WHICH} threshold of the gate"),
        ),
    ),
    Panel(
        "Drift alarms",
        (
            (
                f"ml_data_drift_alarm{MODEL}",
                f"{WHICH} {{{{feature}}}}, against {{{{reference}}}}",
            ),
        ),
    ),
    Panel(
        "P-value of no drift",
        (
            (
                f"ml_data_drift_p_value{MODEL}",
                f"{WHICH} {{{{feature}}}}, against {{{{reference}}}}",
            ),
        ),
    ),
    Panel("Rows behind the p-values", ((f"ml_data_drift_rows{MODEL}", WHICH),)),
    Panel(
        "Drift score (population stability index)",
        ((f"ml_data_drift_score{MODEL}", f"{WHICH} {{{{feature}}}}"),),
    ),
    Panel(
        "Drift score × importance of the input",
        (
            (
                f"ml_data_drift_score{MODEL} * clamp_min(ml_input_importance{MODEL}, 0)",
                f"{WHICH} {{{{feature}}}}",
            ),
        ),
    ),
    Panel(
        "Values outside their range, per second",
        ((_rate("ml_inputs_outside_range_total", ", feature"), f"{WHICH} {{{{feature}}}}"),),
    ),
    Panel(
        "Versions: predictions per second",
        ((_rate("ml_predictions_total", ", version"), f"{WHICH} {{{{version}}}}"),),
    ),
    Panel(
        "Versions: seconds per request, 95 %",
        ((_quantile(0.95, ", version"), f"{WHICH} {{{{version}}}}"),),
        "s",
    ),
)

DASHBOARDS = {"Service": SERVICE, "Model": MODELS}
_LEGEND = {  # the highest value first
    **{"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]},
    **{"sortBy": "Last *", "sortDesc": True},
}
_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_COLUMNS, _WIDTH, _HEIGHT = 3, 8, 8  # Grafana's grid has 24 units in a row


def dashboard(title: str) -> dict[str, Any]:
    """One of the `DASHBOARDS` as Grafana imports it."""
    return {
        "title": title,
        "uid": title.lower(),
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                _variable("environment", "label_values(up, environment)"),
                _variable("model", "label_values(ml_prediction_errors_total, model_name)"),
            ]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(DASHBOARDS[title])],
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    """A choice among the values of a label, at first all of them."""
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # whenever the time range changes
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "options": {"legend": _LEGEND},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + each), "expr": query, "legendFormat": legend}
            for each, (query, legend) in enumerate(panel.queries)
        ],
    }
