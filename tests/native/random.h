// Random numbers and texts of the native tests.
#pragma once

#include <cstdint>
#include <string>

namespace corelane_test {

// Small, repeatable, one for each thread.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435761u + 1) {}
  uint64_t Below(uint64_t limit) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % limit;
  }
  std::string Text() {
    // Mostly small, sometimes so large that its memory is given back.
    const uint64_t kind = Below(50);
    return std::string(kind == 0 ? 200'000 : Below(2000), static_cast<char>('a' + Below(20)));
  }

 private:
  uint64_t state_;
};

}  // namespace corelane_test
