"""Prometheus, Alertmanager and Grafana for the metrics of a service."""
