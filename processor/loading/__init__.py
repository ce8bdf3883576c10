"""How a version gets ready: its engine, precision, profile and first runs."""
