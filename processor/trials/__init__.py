"""Requests to try a model with."""
