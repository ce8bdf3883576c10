#include "engines/range_check.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "codec/tensor_codec.h"

namespace corelane {
namespace {

// An end of a range as the type has it, or the type's own end where it has no such number.
template <typename T>
T Bounded(int64_t end) {
  if constexpr (std::is_same_v<T, uint64_t>) {
    return end < 0 ? 0 : static_cast<uint64_t>(end);
  } else {
    return static_cast<T>(std::clamp<int64_t>(end, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
  }
}

template <typename T>
bool AreWithin(const RangeCheck& check, const void* data, int64_t count, Outlier* outlier) {
  const T* const values = static_cast<const T*>(data);
  const int64_t columns = static_cast<int64_t>(check.lows.size());
  if (columns == 1) {
    const T low = Bounded<T>(check.lows[0]), high = Bounded<T>(check.highs[0]);
    T least = low, largest = high;
    for (int64_t index = 0; index < count; ++index) {
      least = std::min(least, values[index]);
      largest = std::max(largest, values[index]);
    }
    if (least == low && largest == high) return true;
  }
  std::vector<T> lows, highs;
  for (int64_t end : check.lows) lows.push_back(Bounded<T>(end));
  for (int64_t end : check.highs) highs.push_back(Bounded<T>(end));
  for (int64_t row = 0; row < count; row += columns) {
    const int64_t width = std::min(columns, count - row);
    for (int64_t column = 0; column < width; ++column) {
      const T value = values[row + column];
      if (value >= lows[column] && value <= highs[column]) continue;
      outlier->value = std::to_string(value);
      outlier->column = static_cast<size_t>(column);
      return false;
    }
  }
  return true;
}

}  // namespace

bool IsWithin(const RangeCheck& check, int32_t dtype, const void* data, int64_t count, Outlier* outlier) {
  switch (dtype) {
    case kInt8: return AreWithin<int8_t>(check, data, count, outlier);
    case kUint8: return AreWithin<uint8_t>(check, data, count, outlier);
    case kInt16: return AreWithin<int16_t>(check, data, count, outlier);
    case kUint16: return AreWithin<uint16_t>(check, data, count, outlier);
    case kInt32: return AreWithin<int32_t>(check, data, count, outlier);
    case kUint32: return AreWithin<uint32_t>(check, data, count, outlier);
    case kInt64: return AreWithin<int64_t>(check, data, count, outlier);
    case kUint64: return AreWithin<uint64_t>(check, data, count, outlier);
  }
  return true;
}

}  // namespace corelane
