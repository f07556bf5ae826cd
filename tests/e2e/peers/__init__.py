"""The real parts that the end-to-end, crash and load tests start: each in a folder and on ports of its own."""
