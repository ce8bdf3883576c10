// The hash of strings that TensorFlow's StringToHashBucketFast takes.
#pragma once

#include <cstdint>
#include <string_view>

namespace corelane {

// FarmHash's Fingerprint64 (G. Pike, github.com/google/farmhash): the same on every machine, for ever.
uint64_t Fingerprint64(std::string_view text);

// Two fingerprints as one, as TensorFlow's FingerprintCat64 joins them.
uint64_t JoinFingerprints(uint64_t first, uint64_t second);

// x % divisor without a division: the quotient's estimate is at most two too small.
class Modulus {
 public:
  explicit Modulus(uint64_t divisor) : divisor_(divisor), inverse_(~uint64_t{0} / divisor) {}

  uint64_t operator()(uint64_t x) const {
    const uint64_t quotient = static_cast<uint64_t>((static_cast<unsigned __int128>(x) * inverse_) >> 64);
    uint64_t rest = x - quotient * divisor_;
    while (rest >= divisor_) rest -= divisor_;
    return rest;
  }

 private:
  uint64_t divisor_, inverse_;
};

}  // namespace corelane
