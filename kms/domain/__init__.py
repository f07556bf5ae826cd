"""Frozen values: parse and print. Standard library only, no I/O, no clock."""
