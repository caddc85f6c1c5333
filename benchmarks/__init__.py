"""Benchmarks: each runs on a database of its own and prints its figures beside their goals."""
