"""Insights: what departs from an organisation's own usual course, told once and in words."""
