"""Metrics of a served model for Prometheus.

Collectors in one process share the metrics of a registry.

With several workers, prometheus_client adds up what each has written to PROMETHEUS_MULTIPROC_DIR.
That variable must be set before prometheus_client is imported; BentoML does so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from application.ports.metrics import Interval
from infrastructure.monitoring.metrics.families import family
from infrastructure.monitoring.metrics.histograms import ManyValues
from infrastructure.monitoring.metrics.requests import RequestCounters

LATENCY_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
CONFIDENCE_BUCKETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class ServiceMetrics(RequestCounters):
    """Collects the metrics of one version of a model.

    Memory does not grow with the number of predictions: there is one child per class and monitored
    variable.

    Args:
        model_name, version: labels of every metric.
        classes: names of the classes, or of the one predicted quantity; each has a time series from
            the start, at zero.
        registry: where the metrics are registered; tests pass their own.
        value_buckets: upper bounds of the buckets of a predicted quantity; None for classes.
        tolerant: names of the inputs that are accepted or clipped outside their range; each has a
            time series from the start, too.
    """

    def __init__(
        self,
        model_name: str,
        version: str,
        classes: Sequence[str],
        registry: CollectorRegistry = REGISTRY,
        value_buckets: Sequence[float] | None = None,
        tolerant: Sequence[str] = (),
    ) -> None:
        super().__init__(model_name, version, registry)
        self._registry = registry
        names = ("model_name", "version")
        self._predictions: list[Counter] = []
        self._confidence: list[ManyValues] = []
        self._duration = ManyValues(
            self._histogram(
                "ml_prediction_duration_seconds",
                "Seconds from the rows of a request to its predictions.",
                LATENCY_BUCKETS,
            ).labels(*self._labels)
        )
        drift = self._gauge(
            "ml_data_drift_score",
            "Drift by input: of a service, the population stability index of its latest 1,000 rows "
            "against the training data; of a ModelMetricsCollector, the shift in standard "
            "deviations.",
            ("model_name", "feature"),
        )
        outside = family(
            Counter,
            "ml_inputs_outside_range",
            "Values outside the range in the contract that were accepted or clipped, by input.",
            ("model_name", "feature"),
            registry,
        )
        self._outside = {name: outside.labels(model_name, name) for name in tolerant}
        self._dropped = family(
            Counter,
            "ml_prediction_log_dropped_rows",
            "Predicted rows that were not written to the prediction log.",
            names,
            registry,
        ).labels(*self._labels)
        self._spooled = self._gauge(
            "ml_prediction_log_spooled_rows",
            "Predicted rows that wait in files until the prediction log can be written.",
            names,
        ).labels(*self._labels)
        p_values = self._gauge(
            "ml_data_drift_p_value",
            "P-value of no drift since the model was deployed, valid at any time, by input, and by "
            "what it is compared with: training, or earlier production.",
            ("model_name", "feature", "reference"),
        )
        alarms = self._gauge(
            "ml_data_drift_alarm",
            "1 if an input drifts, else 0: over the whole life of a version, the probability of a "
            "false alarm is at most 1 %.",
            ("model_name", "feature", "reference"),
        )
        compared = self._gauge(
            "ml_data_drift_rows",
            "Predicted rows on which the p-values of drift are based.",
            ("model_name",),
        )
        retraining = self._gauge(
            "ml_retraining_failed",
            "1 if the last retraining by make watch failed or was refused, else 0.",
            ("model_name",),
        )
        importances = self._gauge(
            "ml_input_importance",
            "By how much the score on the hold-out falls when an input is shuffled.",
            ("model_name", "feature"),
        )
        self._drift = {
            "retraining": retraining,
            "importance": importances,
            "score": drift,
            "p_value": p_values,
            "alarm": alarms,
            "rows": compared,
        }
        self._scores = {
            "score": self._gauge(
                "ml_model_score",
                "Score of the chosen measure, higher is better, of the latest predictions that "
                "were labelled in the last 24 hours.",
                (*names, "measure"),
            ),
            "score_bound": self._gauge(
                "ml_model_score_bound",
                "95 % interval of ml_model_score, by bound: lower and upper; NaN below 30 labels.",
                (*names, "measure", "bound"),
            ),
            "estimated": self._gauge(
                "ml_model_estimated_score",
                "Score that the latest 10,000 predictions of the last 24 hours probably have, "
                "estimated without labels, by measure.",
                (*names, "measure"),
            ),
            "estimated_bound": self._gauge(
                "ml_model_estimated_score_bound",
                "95 % interval of ml_model_estimated_score, by bound: lower and upper.",
                (*names, "measure", "bound"),
            ),
            "threshold": self._gauge(
                "ml_model_score_threshold",
                "Score from which the quality gate accepts the model, by measure.",
                (*names, "measure"),
            ),
        }
        self._labelled = self._gauge(
            "ml_labelled_predictions",
            "Predictions that were labelled in the last 24 hours.",
            names,
        )
        # a gauge's child is created when it is first set: earlier, it would show 0
        if value_buckets is None:
            for name in classes:
                self.add_class(name)
            self._quality = self._gauge(
                "ml_model_accuracy",
                "Accuracy of the predictions that were labelled in the last 24 hours.",
                names,
            )
        else:
            self._predictions += map(self._count_of, classes)
            self._value = ManyValues(
                self._histogram(
                    "ml_prediction_value", "Predicted value, in its own unit.", value_buckets
                ).labels(*self._labels)
            )
            self._quality = self._gauge(
                "ml_model_mean_absolute_error",
                "Mean absolute error of the predictions that were labelled in the last 24 hours.",
                names,
            )

    def _histogram(
        self, name: str, documentation: str, buckets: Sequence[float], *extra_labels: str
    ) -> Histogram:
        labels = ("model_name", "version", *extra_labels)
        return family(
            Histogram, name, documentation, labels, self._registry, buckets=tuple(buckets)
        )

    def _gauge(self, name: str, documentation: str, labels: Sequence[str]) -> Gauge:
        """A gauge that shows the value set last by any worker."""
        return family(
            Gauge, name, documentation, labels, self._registry, multiprocess_mode="mostrecent"
        )

    def _count_of(self, name: str) -> Counter:
        """The counter of the predictions of a class, or of the predicted quantity."""
        labels = ("model_name", "version", "class")
        counts = family(
            Counter, "ml_predictions", "Rows predicted, by class.", labels, self._registry
        )
        return counts.labels(*self._labels, name)

    def add_class(self, name: str) -> None:
        """Start the time series of one more class, whose number is the next one."""
        self._predictions.append(self._count_of(name))
        confidence = self._histogram(
            "ml_prediction_confidence",
            "Probability of the predicted class.",
            CONFIDENCE_BUCKETS,
            "class",
        )
        self._confidence.append(ManyValues(confidence.labels(*self._labels, name)))

    def record_predictions(
        self, codes: np.ndarray, confidences: np.ndarray, latencies: np.ndarray
    ) -> None:
        """Count the predictions of a classifier.

        Args:
            codes: number of the predicted class of each row, shape (n_rows,).
            confidences: probability of that class, shape (n_rows,).
            latencies: seconds per request, shape (n_requests,).
        """
        self._duration.observe(latencies)
        for code in np.unique(codes):
            of_class = confidences[codes == code]
            self._predictions[code].inc(len(of_class))
            self._confidence[code].observe(of_class)

    def record_values(self, values: np.ndarray, latencies: np.ndarray) -> None:
        """Count the predictions of a regression.

        Args:
            values: predicted value of each row, shape (n_rows,).
            latencies: seconds per request, shape (n_requests,).
        """
        self._duration.observe(latencies)
        (counter,) = self._predictions  # a regression predicts one quantity
        counter.inc(len(values))
        self._value.observe(values)

    def record_outside(self, counts: Mapping[str, int]) -> None:
        """Count accepted or clipped numbers outside their range, by name of the input."""
        for name, count in counts.items():
            self._outside[name].inc(count)

    def record_dropped(self, rows: int) -> None:
        """Count predicted rows that were not written to the prediction log."""
        self._dropped.inc(rows)

    def set_accuracy(self, accuracy: float) -> None:
        """Set the live accuracy on labelled predictions, 0 to 1."""
        self._quality.labels(*self._labels).set(accuracy)

    def set_mean_absolute_error(self, error: float) -> None:
        """Set the live mean absolute error on labelled predictions, in the quantity's unit."""
        self._quality.labels(*self._labels).set(error)

    def set_score(self, measure: str, score: float, interval: Interval | None) -> None:
        """Set the live score of the chosen measure on labelled predictions, higher is better, with
        its 95 % interval; None if there are too few."""
        self._set_score("score", measure, score, interval)

    def set_estimated_score(self, measure: str, score: float, interval: Interval | None) -> None:
        """Set the score of a measure that was estimated without labels, with its 95 % interval."""
        self._set_score("estimated", measure, score, interval)

    def _set_score(self, kind: str, measure: str, score: float, interval: Interval | None) -> None:
        labels = (*self._labels, measure)
        self._scores[kind].labels(*labels).set(score)
        for bound, value in zip(("lower", "upper"), interval or (math.nan, math.nan)):
            self._scores[f"{kind}_bound"].labels(*labels, bound).set(value)

    def set_score_threshold(self, measure: str, threshold: float) -> None:
        """Set the score from which the quality gate accepts the model."""
        self._scores["threshold"].labels(*self._labels, measure).set(threshold)

    def set_labelled(self, rows: int) -> None:
        """Set how many predictions were labelled in the last 24 hours."""
        self._labelled.labels(*self._labels).set(rows)

    def set_spooled(self, rows: int) -> None:
        """Set how many predicted rows of all workers wait in files for the prediction log."""
        self._spooled.set(rows)

    def set_importances(self, importances: Mapping[str, float]) -> None:
        """Set how important the inputs are, by monitored variable."""
        for feature, value in importances.items():
            self._drift["importance"].labels(self._labels[0], feature).set(value)

    def set_drift_evidence(
        self,
        rows: int,
        p_values: Mapping[str, Mapping[str, float]],
        drifting: Mapping[str, Collection[str]],
    ) -> None:
        """Set what is known of drift since the model was deployed.

        Args:
            rows: number of rows that were compared.
            p_values: by what they were compared with, and by variable.
            drifting: the variables with an alarm, by what they were compared with.
        """
        model = self._labels[0]
        self._drift["rows"].labels(model).set(rows)
        for reference, found in p_values.items():
            for feature, value in found.items():
                self._drift["p_value"].labels(model, feature, reference).set(value)
                alarm = feature in drifting[reference]
                self._drift["alarm"].labels(model, feature, reference).set(alarm)

    def set_retraining_failed(self, failed: bool) -> None:
        """Set whether the last retraining ended without an accepted version."""
        self._drift["retraining"].labels(self._labels[0]).set(failed)

    def set_drift(self, scores: Mapping[str, float]) -> None:
        """Set drift scores by monitored variable."""
        for feature, score in scores.items():
            self._drift["score"].labels(self._labels[0], feature).set(score)
