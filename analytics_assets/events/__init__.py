"""Tracked events: their collection, sessions, and what is summed from them."""
