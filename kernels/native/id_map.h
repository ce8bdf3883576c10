// A vocabulary: the ids of strings or of ints, as TensorFlow's hash tables hold them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace corelane {

// Open addressing in a power of two of slots, half of them free at least.
//
// Thread safety: none changes it once it is made.
class IdMap {
 public:
  IdMap(std::vector<std::string> keys, std::vector<int64_t> ids);
  IdMap(const std::vector<int64_t>& keys, std::vector<int64_t> ids);

  int64_t Find(std::string_view key, int64_t otherwise) const;
  int64_t Find(int64_t key, int64_t otherwise) const;

 private:
  void Reserve(size_t count);
  static uint64_t Spread(uint64_t key) {
    key *= 0x9e3779b97f4a7c15;  // 2^64 / golden ratio
    return key ^ key >> 32;
  }

  std::vector<uint32_t> slots_;  // 0, or one more than a key's index
  uint64_t mask_ = 0;
  std::vector<std::string> strings_;
  std::vector<uint64_t> hashes_;
  std::vector<int64_t> ints_;
  std::vector<int64_t> ids_;
};

}  // namespace corelane
