"""From a TensorFlow graph to a program of features and the dense graph behind them.

`compile_graph` is the whole of it: analysis by rules (`analysis`, `rules`), a cut (`partition`), instructions
(`lower`). Values of variables and tables are not looked at; whoever has them fills them in.
"""

from corelane.kernels.compiler.analysis import Application, Feed, Ids
from corelane.kernels.compiler.compile import Compiled, NotFused, compile_graph
from corelane.kernels.compiler.terms import Table

__all__ = ["Application", "Compiled", "Feed", "Ids", "NotFused", "Table", "compile_graph"]
