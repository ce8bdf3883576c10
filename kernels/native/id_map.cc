#include "id_map.h"

#include <utility>

#include "fingerprint.h"

namespace corelane {

void IdMap::Reserve(size_t count) {
  size_t slots = 8;
  while (slots < 2 * count) slots *= 2;
  slots_.assign(slots, 0);
  mask_ = slots - 1;
}

IdMap::IdMap(std::vector<std::string> keys, std::vector<int64_t> ids)
    : strings_(std::move(keys)), ids_(std::move(ids)) {
  Reserve(strings_.size());
  for (size_t index = 0; index < strings_.size(); ++index) {
    hashes_.push_back(Fingerprint64(strings_[index]));
    uint64_t slot = hashes_.back() & mask_;
    while (slots_[slot] != 0) slot = (slot + 1) & mask_;
    slots_[slot] = static_cast<uint32_t>(index + 1);
  }
}

IdMap::IdMap(const std::vector<int64_t>& keys, std::vector<int64_t> ids) : ints_(keys), ids_(std::move(ids)) {
  Reserve(ints_.size());
  for (size_t index = 0; index < ints_.size(); ++index) {
    uint64_t slot = Spread(static_cast<uint64_t>(ints_[index])) & mask_;
    while (slots_[slot] != 0) slot = (slot + 1) & mask_;
    slots_[slot] = static_cast<uint32_t>(index + 1);
  }
}

int64_t IdMap::Find(std::string_view key, int64_t otherwise) const {
  const uint64_t hash = Fingerprint64(key);
  for (uint64_t slot = hash & mask_; slots_[slot] != 0; slot = (slot + 1) & mask_) {
    const size_t index = slots_[slot] - 1;
    if (hashes_[index] == hash && strings_[index] == key) return ids_[index];
  }
  return otherwise;
}

int64_t IdMap::Find(int64_t key, int64_t otherwise) const {
  for (uint64_t slot = Spread(static_cast<uint64_t>(key)) & mask_; slots_[slot] != 0; slot = (slot + 1) & mask_) {
    const size_t index = slots_[slot] - 1;
    if (ints_[index] == key) return ids_[index];
  }
  return otherwise;
}

}  // namespace corelane
