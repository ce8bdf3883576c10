// Any byte string is decoded or refused, within its bounds: a target for a coverage-guided fuzzer (build with
// -fsanitize=fuzzer), and with CORELANE_FUZZ_MAIN a program that mutates a few seeds itself, the same way every time, and
// runs files that the fuzzer found before: fuzz_codec ROUNDS FILE...
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/infer_codec.h"
#include "codec/model_spec.h"
#include "codec/predict_codec.h"
#include "codec/tensor_codec.h"

namespace {

constexpr uint64_t kBytesMax = 1 << 16;

std::string Write(int32_t dtype, const std::vector<int64_t>& dims, const void* data, int64_t count,
                  const std::vector<std::string_view>& strings, bool content) {
  // Memory of the exact size, so that a write past the end is seen.
  std::vector<char> out(corelane::TensorBytes(dtype, dims, data, count, strings, content));
  corelane::MessageWriter writer(out.data());
  corelane::WriteTensor(dtype, dims, data, count, strings, content, &writer);
  if (writer.end() != out.data() + out.size()) std::abort();
  return std::string(out.begin(), out.end());
}

// What is written reads back as what it was.
void RoundTrip(const corelane::TensorMessage& tensor, int64_t count) {
  corelane::TensorMessage again;
  int64_t count_again;
  if (tensor.dtype == corelane::kString) {
    std::vector<std::string_view> strings(static_cast<size_t>(count)), copy(strings.size());
    const auto into = [](auto* list) { return [list](int64_t index, std::string_view text) { (*list)[index] = text; }; };
    if (!corelane::FillStrings(tensor, count, into(&strings))) return;
    const std::string out = Write(tensor.dtype, tensor.dims, nullptr, count, strings, false);
    if (!again.Merge(out) || !again.CountElements(kBytesMax, &count_again) || count_again != count) std::abort();
    if (!corelane::FillStrings(again, count, into(&copy)) || copy != strings) std::abort();
    return;
  }
  std::vector<char> memory(static_cast<size_t>(count) * corelane::ElementBytes(tensor.dtype));
  const char* in_place = corelane::NumbersInPlace(tensor, count, 1);
  if (!corelane::FillNumbers(tensor, count, memory.data())) {
    if (in_place != nullptr) std::abort();
    return;
  }
  if (in_place != nullptr && std::memcmp(in_place, memory.data(), memory.size()) != 0) std::abort();
  for (bool content : {false, true}) {
    const std::string out = Write(tensor.dtype, tensor.dims, memory.data(), count, {}, content);
    std::vector<char> copy(memory.size());
    again.Clear();
    if (!again.Merge(out) || !again.CountElements(kBytesMax, &count_again) || count_again != count) std::abort();
    if (!corelane::FillNumbers(again, count, copy.data()) || copy != memory) std::abort();
  }
}

// A signature of two inputs, a number and a string, of any shape.
const std::vector<std::unique_ptr<corelane::Signature>>& Signatures() {
  static const auto* signatures = [] {
    auto* made = new std::vector<std::unique_ptr<corelane::Signature>>;
    auto signature = std::make_unique<corelane::Signature>();
    signature->name = "serving_default";
    signature->inputs = {{"n", corelane::kFloat, false, {}}, {"s", corelane::kString, true, {-1}}};
    signature->outputs = {{"y", corelane::kFloat, true, {-1}}};
    signature->Finish();
    made->push_back(std::move(signature));
    return made;
  }();
  return *signatures;
}

void Decode(std::string_view data) {
  corelane::ModelSpec spec;
  corelane::PeekModelSpec(data, 0, &spec);
  corelane::PeekModelSpec(data, 1, &spec);
  corelane::PredictRequest request;
  if (request.Decode(Signatures(), data, kBytesMax)) {
    for (size_t index = 0; index < request.inputs.size(); ++index) RoundTrip(request.inputs[index], request.counts[index]);
  }
  corelane::InferTarget target;
  corelane::PeekInferTarget(data, &target);
  if (corelane::DecodeInfer(Signatures(), data, kBytesMax, &request)) {
    for (size_t index = 0; index < request.inputs.size(); ++index) RoundTrip(request.inputs[index], request.counts[index]);
  }
  corelane::TensorMessage tensor;
  int64_t count;
  if (tensor.Merge(data) && tensor.CountElements(kBytesMax, &count)) RoundTrip(tensor, count);
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

std::string Field(uint32_t field, const std::string& value) {
  std::string out(corelane::MessageWriter::BytesFieldBytes(field, value.size()), '\0');
  corelane::MessageWriter(out.data()).BytesField(field, value);
  return out;
}

// A tensor of each dtype: a dtype, a shape of two, two values of its field, packed and not.
std::vector<std::string> Seeds() {
  std::vector<std::string> seeds = {"", std::string("\x0a\x06\x0a\x01m\x12\x01\x08", 8), std::string("\x0a\x02\x0a\x00", 4)};
  const char shape[] = "\x12\x04\x12\x02\x08\x02";
  for (int dtype = 0; dtype < 24; ++dtype) {
    for (uint32_t field : {5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17}) {
      std::string seed = {'\x08', static_cast<char>(dtype)};
      seed += shape;
      seed += Field(field, std::string(field % 2 ? 8 : 16, '\x01'));
      seeds.push_back(seed);
      seeds.push_back(seed + Field(4, std::string(16, '\x02')));
    }
  }
  // A request of the signature above.
  const std::string number = std::string("\x08\x01\x12\x04\x12\x02\x08\x02", 8) + Field(5, std::string(8, '\x01'));
  const std::string text = std::string("\x08\x07\x12\x04\x12\x02\x08\x03", 8) + Field(8, "ab") + Field(8, "c");
  seeds.push_back(Field(1, Field(1, "model")) + Field(2, Field(1, "n") + Field(2, number)) +
                  Field(2, Field(1, "s") + Field(2, text)) + Field(3, "y"));
  // The same by the Open Inference Protocol, raw and not.
  const std::string head = Field(1, "model") + Field(2, "1") + Field(3, "id") +
                           Field(4, Field(1, "signature_name") + Field(2, Field(3, "serving_default")));
  const std::string n = Field(1, "n") + Field(2, "FP32") + Field(3, "\x02");
  const std::string s = Field(1, "s") + Field(2, "BYTES") + Field(3, "\x02");
  seeds.push_back(head + Field(5, n) + Field(5, s) + Field(6, Field(1, "y")) + Field(7, std::string(8, '\x01')) +
                  Field(7, std::string("\x01\0\0\0a\x02\0\0\0bc", 11)));
  seeds.push_back(head + Field(5, n + Field(5, Field(6, std::string(8, '\x01')))) +
                  Field(5, s + Field(5, Field(8, "a") + Field(8, "bc"))));
  return seeds;
}

}  // namespace

int main(int count, char** arguments) {
  const long rounds = count > 1 ? std::atol(arguments[1]) : 100;
  for (int index = 2; index < count; ++index) {
    std::ifstream file(arguments[index], std::ios::binary);
    const std::string data((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(data.data()), data.size());
  }
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
