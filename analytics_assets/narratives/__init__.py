"""Insights in a language model's words, every figure of them checked; the template stands wherever that fails."""
