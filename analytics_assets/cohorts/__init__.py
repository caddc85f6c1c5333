"""Cohorts by sign-up, first purchase and first visit."""
