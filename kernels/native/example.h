// Features of a serialized tf.Example, as ParseExample reads dense ones.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace corelane {

enum class Found : uint8_t { kYes, kNo, kMalformed, kOtherType };

// Appends the values of feature `key` to `out`, views into `example`. kNo if it is not there, or is there without a list;
// then nothing is appended. Of an entry that is there twice, the last counts.
//
// Example: features = 1; Features: map<string, Feature> feature = 1; Feature: BytesList = 1, FloatList = 2, Int64List = 3,
// each with values = 1, packed or not.
Found ReadFeature(std::string_view example, std::string_view key, std::vector<std::string_view>* out);
Found ReadFeature(std::string_view example, std::string_view key, std::vector<float>* out);
Found ReadFeature(std::string_view example, std::string_view key, std::vector<int64_t>* out);

}  // namespace corelane
