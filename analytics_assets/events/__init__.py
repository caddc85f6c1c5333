"""Tracked events: the collector that takes them in over HTTP, what is made of them, and the live view."""
