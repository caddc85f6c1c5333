"""Funnels: definitions in versions, and funnel_analysis by day."""
