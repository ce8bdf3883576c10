// Finds the ModelSpec of a TensorFlow-Serving request in its bytes, without parsing its tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace corelane {

// What a request says about the model it wants. An absent or empty field is its proto3 default.
struct ModelSpec {
  bool present = false;  // the request has a model_spec at all
  std::string name;
  std::string signature_name;
  // At most one of these two is set: they are one oneof, and the last on the wire wins.
  std::optional<int64_t> version;
  std::optional<std::string> version_label;
};

enum class PeekResult { kOk, kMalformed };

// Reads field 1 of `request` as a ModelSpec, following protobuf's rules: a repeated field merges, an unknown field
// is skipped, and `depth` length-delimited field 1s are entered first (1 for MultiInferenceRequest.tasks, where the
// first task speaks for all; 0 for every other request).
//
// Touches the tag and length of each top-level field and the bytes of the spec, nothing else: the cost does not
// depend on the size of the tensors. kMalformed if a tag, length or varint runs past the end, a group is met, or
// the spec holds a field of the wrong wire type.
//
// Thread safety: pure.
PeekResult PeekModelSpec(std::string_view request, int depth, ModelSpec* spec);

}  // namespace corelane
