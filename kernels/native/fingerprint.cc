#include "fingerprint.h"

#include <cstring>
#include <utility>

namespace corelane {
namespace {

// FarmHash's constants: large odd numbers with about as many ones as zeros.
constexpr uint64_t kA = 0xc3a5c85c97cb3127, kB = 0xb492b66fbe98f273, kC = 0x9ae16a3b2f90404f;

uint64_t Word(const char* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

uint64_t HalfWord(const char* at) {
  uint32_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

uint64_t Turn(uint64_t value, int by) { return value >> by | value << (64 - by); }

uint64_t Fold(uint64_t value) { return value ^ value >> 47; }

uint64_t Mix(uint64_t first, uint64_t second, uint64_t factor) {
  const uint64_t inner = Fold((first ^ second) * factor);
  return Fold((second ^ inner) * factor) * factor;
}

uint64_t UpTo16(const char* text, size_t size) {
  const uint64_t factor = kC + size * 2;
  if (size >= 8) {
    const uint64_t first = Word(text) + kC, last = Word(text + size - 8);
    return Mix(Turn(last, 37) * factor + first, (Turn(first, 25) + last) * factor, factor);
  }
  if (size >= 4) return Mix(size + (HalfWord(text) << 3), HalfWord(text + size - 4), factor);
  if (size == 0) return kC;
  const auto byte = [text](size_t index) -> uint32_t { return static_cast<unsigned char>(text[index]); };
  const uint32_t low = byte(0) + (byte(size / 2) << 8);
  const uint32_t high = static_cast<uint32_t>(size) + (byte(size - 1) << 2);
  return Fold(low * kC ^ high * kA) * kC;
}

uint64_t UpTo32(const char* text, size_t size) {
  const uint64_t factor = kC + size * 2;
  const uint64_t a = Word(text) * kB, b = Word(text + 8);
  const uint64_t c = Word(text + size - 8) * factor, d = Word(text + size - 16) * kC;
  return Mix(Turn(a + b, 43) + Turn(c, 30) + d, a + Turn(b + kC, 18) + c, factor);
}

uint64_t UpTo64(const char* text, size_t size) {
  const uint64_t factor = kC + size * 2;
  const uint64_t a = Word(text) * kC, b = Word(text + 8);
  const uint64_t c = Word(text + size - 8) * factor, d = Word(text + size - 16) * kC;
  const uint64_t y = Turn(a + b, 43) + Turn(c, 30) + d;
  const uint64_t z = Mix(y, a + Turn(b + kC, 18) + c, factor);
  const uint64_t e = Word(text + 16) * factor, f = Word(text + 24);
  const uint64_t g = (y + Word(text + size - 32)) * factor, h = (z + Word(text + size - 24)) * factor;
  return Mix(Turn(e + f, 43) + Turn(g, 30) + h, e + Turn(f + a, 18) + g, factor);
}

struct Pair {
  uint64_t first, second;
};

// Half a block of 64 bytes.
Pair Half(const char* text, uint64_t a, uint64_t b) {
  const uint64_t last = Word(text + 24);
  a += Word(text);
  b = Turn(b + a + last, 21);
  const uint64_t kept = a;
  a += Word(text + 8) + Word(text + 16);
  b += Turn(a, 44);
  return {a + last, b + kept};
}

}  // namespace

uint64_t JoinFingerprints(uint64_t first, uint64_t second) {
  constexpr uint64_t kFactor = 0xc6a4a7935bd1e995;
  const uint64_t joined = (first ^ kFactor ^ Fold(second * kFactor) * kFactor) * kFactor;
  return Fold(Fold(joined) * kFactor);
}

uint64_t Fingerprint64(std::string_view view) {
  const char* text = view.data();
  const size_t size = view.size();
  if (size <= 16) return UpTo16(text, size);
  if (size <= 32) return UpTo32(text, size);
  if (size <= 64) return UpTo64(text, size);

  constexpr uint64_t kSeed = 81;
  uint64_t x = kSeed * kC + Word(text), y = kSeed * kB + 113, z = Fold(y * kC + 113) * kC;
  Pair v{0, 0}, w{0, 0};
  // `skew` sets the last block apart, which may overlap the one before it.
  const auto block = [&](const char* at, uint64_t factor, uint64_t skew) {
    x = Turn(x + y + v.first + Word(at + 8), 37) * factor;
    y = Turn(y + v.second + Word(at + 48), 42) * factor;
    x ^= w.second * skew;
    y += v.first * skew + Word(at + 40);
    z = Turn(z + w.first, 33) * factor;
    v = Half(at, v.second * factor, x + w.first);
    w = Half(at + 32, z + w.second, y + Word(at + 16));
    std::swap(z, x);
  };
  const size_t rest = (size - 1) % 64;
  for (const char* at = text; at != text + (size - 1 - rest); at += 64) block(at, kB, 1);
  const uint64_t factor = kB + ((z & 0xff) << 1);
  w.first += rest;
  v.first += w.first;
  w.first += v.first;
  block(text + size - 64, factor, 9);
  return Mix(Mix(v.first, w.first, factor) + Fold(y) * kA + z, Mix(v.second, w.second, factor) + x, factor);
}

}  // namespace corelane
