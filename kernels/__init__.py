"""Native kernels and the graph compiler. Knows no other package of the project."""

from corelane.kernels._native import instruction_sets

__all__ = ["instruction_sets"]
