"""Which graphs may run several requests as one: those where each row of each output depends on the same row of the
inputs and on nothing else of the request. It is shown op by op, whatever the values; what is not understood joins rows.
"""

from corelane.kernels.batching.openvino import check_openvino_rows
from corelane.kernels.batching.tensor import JoinsRows
from corelane.kernels.batching.tensorflow import check_rows

__all__ = ["JoinsRows", "check_openvino_rows", "check_rows"]
