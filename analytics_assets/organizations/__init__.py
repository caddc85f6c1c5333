"""Tenants and their partition keys."""
