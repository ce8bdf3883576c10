"""Rewriting of TensorFlow graphs, as GraphDef messages. The message classes are the caller's: what is made here is made
with the classes of what is given, so that this needs neither TensorFlow nor a descriptor."""

from corelane.kernels.graph.freeze import Tensor, Variable, freeze, variables
from corelane.kernels.graph.inline import inline_calls
from corelane.kernels.graph.reach import GraphError, running_nodes

__all__ = ["GraphError", "Tensor", "Variable", "freeze", "inline_calls", "running_nodes", "variables"]
