// What a model takes and returns.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace corelane {

// One input or output of a signature.
struct TensorSlot {
  std::string alias;
  int32_t dtype = 0;
  bool rank_known = true;
  std::vector<int64_t> dims;  // -1: any size

  // Whether a tensor of this shape is one that the slot names.
  bool Accepts(const std::vector<int64_t>& shape) const {
    if (!rank_known) return true;
    if (shape.size() != dims.size()) return false;
    for (size_t axis = 0; axis < dims.size(); ++axis) {
      if (dims[axis] != -1 && dims[axis] != shape[axis]) return false;
    }
    return true;
  }
};

struct Signature {
  std::string name;
  uint32_t number = UINT32_MAX;  // among the version's counters (channel_layout.h)
  std::vector<TensorSlot> inputs;
  std::vector<TensorSlot> outputs;
  std::unordered_map<std::string_view, uint32_t> input_index;  // views of the aliases above

  // Each row of each output is known to depend on the same row of the inputs, and on nothing else of the request. Whoever
  // made the signature has shown it from the model's graph.
  bool rows_apart = false;

  // Requests may be run together, one behind the other: their rows are apart, and every input and output has a first axis
  // of any size.
  bool batches = false;

  // The model judges shapes: a request of any shape is run. Otherwise one that the slots do not accept is refused.
  bool any_shape = false;

  // Fills what follows from the inputs and outputs. Before the signature is used, and after its last move.
  void Finish();
};

}  // namespace corelane
