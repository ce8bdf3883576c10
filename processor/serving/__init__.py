"""The calls of a worker that Python answers."""
