"""The demo: generated clicks, small real models, a server, traffic, a report."""
