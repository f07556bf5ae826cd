"""Decisions: facts in, verdict out. Nothing waits, time is a parameter."""
