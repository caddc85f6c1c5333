"""Tracked events: the collector that takes them in over HTTP."""
