// The hash of strings that TensorFlow's StringToHashBucketStrong takes.
#pragma once

#include <cstdint>
#include <string_view>

namespace corelane {

// SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012) under a key of 128 bits.
uint64_t SipHash(const uint64_t (&key)[2], std::string_view text);

}  // namespace corelane
