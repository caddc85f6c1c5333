"""Hourly and daily aggregates by the metric catalogue."""
