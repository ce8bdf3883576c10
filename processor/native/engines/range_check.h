// What an input's integers must lie between for a model's answer to be right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace corelane {

struct RangeCheck {
  uint32_t input = 0;         // of the signature
  std::vector<int64_t> lows;  // of each column, that is, element i has those of i modulo their number; at least one
  std::vector<int64_t> highs;
  std::string reason;  // why there is such a range
};

struct Outlier {
  std::string value;
  size_t column = 0;
};

// Contract: true if every element lies between its column's low and high, both included, data being `count` elements of
// `dtype`, an integer type; else false, and `outlier` is the first that does not.
bool IsWithin(const RangeCheck& check, int32_t dtype, const void* data, int64_t count, Outlier* outlier);

}  // namespace corelane
