"""On the reactor: the only layer that waits, and the only one that knows the time."""
