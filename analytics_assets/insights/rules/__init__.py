"""Insights by rules: trends, opportunities and recommendations, each with a statistic, a null hypothesis and a minimum effect."""
