"""Tracked events: the collector, what the database makes of them, live sessions, and their assets."""
