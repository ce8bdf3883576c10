// Any byte string is decoded or refused, within its bounds: a target for a coverage-guided fuzzer (build with
// -fsanitize=fuzzer), and with CORELANE_FUZZ_MAIN a program that mutates a few seeds itself, the same way every time.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "model_spec.h"
#include "tensor_codec.h"

namespace {

constexpr uint64_t kBytesMax = 1 << 16;

void Decode(std::string_view data) {
  corelane::ModelSpec spec;
  corelane::PeekModelSpec(data, 0, &spec);
  corelane::PeekModelSpec(data, 1, &spec);
  corelane::TensorMessage tensor;
  if (!tensor.Merge(data)) return;
  int64_t count;
  if (!tensor.CountElements(kBytesMax, &count)) return;
  if (tensor.dtype == corelane::kString) {
    std::vector<std::string> strings(static_cast<size_t>(count));
    if (corelane::FillStrings(tensor, count, [&](int64_t index, std::string_view text) { strings[index] = text; })) {
      std::vector<std::string_view> views(strings.begin(), strings.end());
      std::string out;
      corelane::AppendStrings(tensor.dims, views, &out);
      corelane::TensorMessage again;
      if (!again.Merge(out)) std::abort();
    }
    return;
  }
  // Memory of the exact size, so that a write past the end is seen.
  std::vector<char> memory(static_cast<size_t>(count) * corelane::ElementBytes(tensor.dtype));
  if (!corelane::FillNumbers(tensor, count, memory.data())) return;
  std::string out;
  corelane::AppendNumbers(tensor.dtype, tensor.dims, memory.data(), count, &out);
  // What is written reads back as what it was.
  corelane::TensorMessage again;
  std::vector<char> copy(memory.size());
  int64_t count_again;
  if (!again.Merge(out) || !again.CountElements(kBytesMax, &count_again) || count_again != count) std::abort();
  if (!corelane::FillNumbers(again, count, copy.data()) || copy != memory) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy of the exact size, so that a read past the end is seen.
  const std::vector<char> exact(data, data + size);
  Decode(std::string_view(exact.data(), exact.size()));
  return 0;
}

#ifdef CORELANE_FUZZ_MAIN
namespace {

// A tensor of each dtype: a dtype, a shape of two, two values of its field, packed and not.
std::vector<std::string> Seeds() {
  std::vector<std::string> seeds = {"", std::string("\x0a\x06\x0a\x01m\x12\x01\x08", 8), std::string("\x0a\x02\x0a\x00", 4)};
  const char shape[] = "\x12\x04\x12\x02\x08\x02";
  for (int dtype = 0; dtype < 24; ++dtype) {
    for (uint32_t field : {5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17}) {
      std::string seed = {'\x08', static_cast<char>(dtype)};
      seed += shape;
      corelane::MessageWriter writer(&seed);
      writer.BytesField(field, std::string(field % 2 ? 8 : 16, '\x01'));
      seeds.push_back(seed);
      writer.VarintField(field, 300);
      seeds.push_back(seed);
      writer.BytesField(4, std::string(16, '\x02'));
      seeds.push_back(seed);
    }
  }
  return seeds;
}

}  // namespace

int main(int count, char** arguments) {
  const long rounds = count > 1 ? std::atol(arguments[1]) : 100;
  uint64_t state = 1;
  const auto next = [&state](uint64_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
  };
  for (const std::string& seed : Seeds()) {
    for (long round = 0; round < rounds; ++round) {
      std::string data = seed;
      for (uint64_t change = next(5); change > 0 && !data.empty(); --change) {
        switch (next(4)) {
          case 0: data[next(data.size())] = static_cast<char>(next(256)); break;
          case 1: data.erase(next(data.size()), 1); break;
          case 2: data.insert(next(data.size()), 1, static_cast<char>(next(256))); break;
          default: data.resize(next(data.size() + 1));
        }
      }
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(data.data()), data.size());
    }
  }
}
#endif
