"""Rehearsals: the whole project live from the sandbox for simulated days, while things are killed and go wrong."""
