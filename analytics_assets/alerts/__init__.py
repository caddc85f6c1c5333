"""Alerts of organisations: rules, what fires and clears, and who is told."""
