"""Verbatim response pages: how they come in, and what is set aside."""
