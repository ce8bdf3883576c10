"""Faults against a server under load whose every answer is checked; `python -m bench.chaos`."""
