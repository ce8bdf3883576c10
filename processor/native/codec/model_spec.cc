#include "codec/model_spec.h"

#include "codec/field_reader.h"

namespace corelane {
namespace {

bool MergeInt64Value(std::string_view data, int64_t* value) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (field == 1 && wire_type == kVarint) {
      uint64_t raw;
      if (!reader.ReadVarint(&raw)) return false;
      *value = static_cast<int64_t>(raw);
    } else if (!reader.Skip(wire_type)) {
      return false;
    }
  }
  return true;
}

bool MergeModelSpec(std::string_view data, ModelSpec* spec) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (field < 1 || field > 4) {
      if (!reader.Skip(wire_type)) return false;
      continue;
    }
    std::string_view bytes;
    if (wire_type != kBytes || !reader.ReadBytes(&bytes)) return false;
    if (field == 1) {
      spec->name = bytes;
    } else if (field == 3) {
      spec->signature_name = bytes;
    } else if (field == 4) {
      spec->version_label = std::string(bytes);
      spec->version.reset();
    } else {
      int64_t version = spec->version.value_or(0);
      if (!MergeInt64Value(bytes, &version)) return false;
      spec->version = version;
      spec->version_label.reset();
    }
  }
  return true;
}

}  // namespace

PeekResult PeekModelSpec(std::string_view request, int depth, ModelSpec* spec) {
  *spec = ModelSpec();
  FieldReader reader(request);
  uint32_t field, wire_type;
  bool entered = false;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return PeekResult::kMalformed;
    if (field != 1) {
      if (!reader.Skip(wire_type)) return PeekResult::kMalformed;
      continue;
    }
    std::string_view bytes;
    if (wire_type != kBytes || !reader.ReadBytes(&bytes)) return PeekResult::kMalformed;
    if (depth == 0) {
      spec->present = true;
      if (!MergeModelSpec(bytes, spec)) return PeekResult::kMalformed;
    } else if (!entered) {
      entered = true;
      if (PeekModelSpec(bytes, depth - 1, spec) != PeekResult::kOk) return PeekResult::kMalformed;
    }
  }
  return PeekResult::kOk;
}

}  // namespace corelane
