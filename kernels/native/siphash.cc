#include "siphash.h"

#include <cstring>

namespace corelane {
namespace {

uint64_t Rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

struct State {
  uint64_t a, b, c, d;

  void Round() {
    a += b;
    c += d;
    b = Rotate(b, 13) ^ a;
    d = Rotate(d, 16) ^ c;
    a = Rotate(a, 32);
    a += d;
    c += b;
    d = Rotate(d, 21) ^ a;
    b = Rotate(b, 17) ^ c;
    c = Rotate(c, 32);
  }

  void Take(uint64_t word) {
    d ^= word;
    Round();
    Round();
    a ^= word;
  }
};

}  // namespace

uint64_t SipHash(const uint64_t (&key)[2], std::string_view text) {
  State state{key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
              key[1] ^ 0x7465646279746573};
  uint64_t last = static_cast<uint64_t>(text.size()) << 56;
  for (; text.size() >= sizeof(uint64_t); text.remove_prefix(sizeof(uint64_t))) {
    uint64_t word;
    std::memcpy(&word, text.data(), sizeof(word));
    state.Take(word);
  }
  for (size_t index = 0; index < text.size(); ++index) {
    last |= static_cast<uint64_t>(static_cast<unsigned char>(text[index])) << (8 * index);
  }
  state.Take(last);
  state.c ^= 0xff;
  for (int round = 0; round < 4; ++round) state.Round();
  return state.a ^ state.b ^ state.c ^ state.d;
}

}  // namespace corelane
