// What an input's integers must lie between for a model's answer to be right.
#pragma once

#include <cstdint>
#include <string>

namespace corelane {

struct RangeCheck {
  uint32_t input = 0;  // of the signature
  int64_t low = 0;     // both ends included
  int64_t high = 0;
  std::string reason;  // why there is such a range
};

// Contract: true if low <= data[i] <= high for every i < count, data being of `dtype`, an integer type; else false, and
// `outlier` is the first that does not.
bool IsWithin(const RangeCheck& check, int32_t dtype, const void* data, int64_t count, std::string* outlier);

}  // namespace corelane
