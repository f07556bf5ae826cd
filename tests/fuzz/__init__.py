"""Fuzzing: what strangers choose, made by a machine that watches which lines it reaches.

`targets/` has one module for each thing that reads a stranger's octets; `corpus/` its seeds; `python -m tests.fuzz`
runs atheris on them; `python -m tests.fuzz.sessions` plays mutated dialogues to a real server.
"""
