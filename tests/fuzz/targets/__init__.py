"""The fuzz targets: each has `run(data)`, which raises when a promise is broken, and a corpus of its name."""
