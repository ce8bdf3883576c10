// Programs of features on random and damaged requests: every instruction that reads strings, Examples or ids. Exits 0 if
// sanitizers found nothing, no second run allocated anything, and every sum of rows was that of a plain loop.
//
//     fuzz_program RUNS
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "fingerprint.h"
#include "program.h"
#include "random.h"

using corelane::Combiner;
using corelane::Empty;
using corelane::IdMap;
using corelane::Instruction;
using corelane::Kind;
using corelane::Opcode;
using corelane::Program;
using corelane::RowTable;
using corelane::RowType;
using corelane_test::Random;

namespace {

std::atomic<int64_t> g_allocations{0};

constexpr int64_t kRows = 50;

std::string Field(char number, const std::string& data) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(data.size() & 0x7f) + data;
}

// An Example with features a (strings), b (ints) and c (floats), often damaged.
std::string Example(Random* random) {
  std::string words, numbers, floats;
  for (uint64_t count = random->Below(4); count > 0; --count) words += Field(1, std::string(random->Below(5), 'x'));
  for (uint64_t count = random->Below(4); count > 0; --count) numbers += static_cast<char>(random->Below(128));
  for (uint64_t count = random->Below(3); count > 0; --count) floats += std::string("\0\0\x80\x3f", 4);
  const auto entry = [](const char* key, char kind, const std::string& list) {
    return Field(1, Field(1, key) + Field(2, Field(kind, list)));
  };
  std::string found = Field(1, entry("a", 1, words) + entry("b", 3, Field(1, numbers)) + entry("c", 2, Field(1, floats)));
  for (uint64_t damage = random->Below(3); damage > 0 && !found.empty(); --damage) {
    const size_t at = random->Below(found.size());
    if (random->Below(2) == 0) {
      found[at] = static_cast<char>(random->Below(256));
    } else {
      found.resize(at);
    }
  }
  return found;
}

std::string Text(Random* random) {
  std::string found;
  for (uint64_t count = random->Below(20); count > 0; --count) found += "ab; ,\tZ-1\xff"[random->Below(10)];
  return found;
}

// On the heap, to the byte: whatever is read beyond is seen.
class HeapFeeds : public corelane::Feeds {
 public:
  HeapFeeds(std::vector<std::string> strings, std::vector<int64_t> ints, std::vector<float> floats)
      : dims_{static_cast<int64_t>(strings.size())}, ints_(std::move(ints)), floats_(std::move(floats)) {
    for (const std::string& text : strings) {
      bytes_.push_back(std::make_unique<char[]>(text.size()));
      std::copy(text.begin(), text.end(), bytes_.back().get());
      views_.emplace_back(bytes_.back().get(), text.size());
    }
  }
  const std::vector<int64_t>& Dims(uint32_t) const override { return dims_; }
  bool Strings(uint32_t, std::vector<std::string_view>* out) const override { return *out = views_, true; }
  bool Ints(uint32_t, std::vector<int64_t>* out) const override { return *out = ints_, true; }
  bool Floats(uint32_t, std::vector<float>* out) const override { return *out = floats_, true; }

 private:
  std::vector<int64_t> dims_;
  std::vector<std::unique_ptr<char[]>> bytes_;
  std::vector<std::string_view> views_;
  std::vector<int64_t> ints_;
  std::vector<float> floats_;
};

std::shared_ptr<RowTable> Table(int64_t dimension) {
  auto data = std::make_shared<std::vector<float>>(kRows * dimension);
  for (size_t index = 0; index < data->size(); ++index) (*data)[index] = static_cast<float>(index % 97) - 48.0f;
  auto table = std::make_shared<RowTable>();
  table->type = RowType::kFloat32;
  table->rows = kRows;
  table->dimension = dimension;
  table->data = reinterpret_cast<const char*>(data->data());
  table->owner = data;
  return table;
}

Instruction Make(Opcode opcode, Kind kind, std::vector<int32_t> inputs, int32_t out) {
  Instruction made;
  made.opcode = opcode;
  made.kind = kind;
  std::copy(inputs.begin(), inputs.end(), made.inputs);
  made.out = out;
  return made;
}

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

// Strings, split or parsed in some way, rewritten, hashed, filtered, filled and summed up.
void RunOnce(uint64_t seed) {
  Random random(seed);
  const bool parses = random.Below(2) == 0;
  const int64_t batch = static_cast<int64_t>(random.Below(7));
  std::vector<std::string> strings;
  for (int64_t row = 0; row < batch; ++row) strings.push_back(parses ? Example(&random) : Text(&random));
  auto program = std::make_shared<Program>();
  program->feeds = {0};
  program->registers = 12;
  const int64_t dimension = 1 + static_cast<int64_t>(random.Below(40));
  program->tables = {Table(dimension)};
  program->maps = {std::make_shared<IdMap>(std::vector<std::string>{"a", "", "ab"}, std::vector<int64_t>{3, 4, 5})};
  program->outputs = {{Kind::kFloats, dimension}, {Kind::kFloats, 7}, {Kind::kInts, 3}};
  std::vector<Instruction>& steps = program->instructions;

  steps.push_back(Make(Opcode::kLoadStrings, Kind::kStrings, {}, 0));
  Instruction pieces = Make(parses ? Opcode::kParseRows : Opcode::kSplit, Kind::kStrings, {0}, 1);
  pieces.rows_out = 2;
  const char* const separators[] = {"", ";", "; ", ","};
  pieces.text = parses ? "a" : separators[random.Below(4)];
  pieces.flag = !parses && !pieces.text.empty() && random.Below(2) == 0;
  steps.push_back(pieces);
  Instruction rewrite = Make(random.Below(2) == 0 ? Opcode::kLower : Opcode::kErase, Kind::kStrings, {1}, 3);
  rewrite.text = "-1";
  steps.push_back(rewrite);
  Instruction pad = Make(Opcode::kPad, Kind::kStrings, {3, 2}, 4);
  pad.number = 3;
  pad.text = "none";
  steps.push_back(pad);
  Instruction find = Make(Opcode::kFindString, Kind::kStrings, {4}, 5);
  find.table = 0;
  find.number = -1;
  steps.push_back(find);
  Instruction copy = Make(Opcode::kCopyInts, Kind::kInts, {5}, -1);
  copy.output = 2;
  steps.push_back(copy);
  Instruction hash = Make(random.Below(2) == 0 ? Opcode::kHash : Opcode::kStrongHash, Kind::kStrings, {3}, 6);
  hash.number = kRows;
  hash.offset = 7;
  hash.other = 9;
  steps.push_back(hash);
  Instruction one_hot = Make(Opcode::kOneHot, Kind::kInts, {6, 2}, -1);
  one_hot.number = 7;
  one_hot.output = 1;
  steps.push_back(one_hot);
  Instruction mask = Make(Opcode::kLess, Kind::kInts, {6}, 7);
  mask.number = static_cast<int64_t>(random.Below(kRows + 1));
  steps.push_back(mask);
  steps.push_back(Make(Opcode::kKeepRows, Kind::kInts, {2, 7}, 8));
  steps.push_back(Make(Opcode::kKeep, Kind::kInts, {6, 7}, 9));
  Instruction fill = Make(Opcode::kFill, Kind::kInts, {9, 8}, 10);
  fill.number = 2;
  steps.push_back(fill);
  steps.push_back(Make(Opcode::kFillRows, Kind::kInts, {8}, 11));
  const bool fills = random.Below(2) == 0;
  Instruction pool = Make(Opcode::kPool, Kind::kInts, fills ? std::vector<int32_t>{10, 11} : std::vector<int32_t>{9, 8}, -1);
  pool.table = 0;
  pool.empty = Empty::kZeros;
  pool.output = 0;
  pool.combiner = static_cast<Combiner>(random.Below(3));
  steps.push_back(pool);

  corelane::ProgramSession session(program);
  std::string error;
  const HeapFeeds feeds(strings, {}, {});
  if (!session.Run(feeds, &error)) {
    if (!parses || error.empty()) Fail("a program refused strings, or did not say why");
    return;
  }
  const int64_t before = g_allocations;
  if (!session.Run(feeds, &error)) Fail("a program refused what it had answered");
  if (g_allocations != before) Fail("a program allocated memory in its second run");
  // The program's own hashes, filtered here, say what the sums are.
  for (int64_t row = 0; row < batch; ++row) {
    float hot = 0.0f;
    for (int64_t index = 0; index < 7; ++index) hot += session.floats(1)[row * 7 + index];
    if (hot < 0.0f) Fail("a count below zero");
    for (int64_t index = 0; index < dimension; ++index) {
      if (!std::isfinite(session.floats(0)[row * dimension + index])) Fail("a sum that is not finite");
    }
  }
}

// Rows of known ids, against a plain loop, by every kernel that this processor has.
void SumOnce(uint64_t seed) {
  Random random(seed);
  const int64_t dimension = 1 + static_cast<int64_t>(random.Below(130)), batch = static_cast<int64_t>(random.Below(5));
  const auto table = Table(dimension);
  std::vector<int64_t> ids, rows{0};
  std::vector<float> weights;
  for (int64_t row = 0; row < batch; ++row) {
    for (uint64_t count = random.Below(6); count > 0; --count) {
      ids.push_back(static_cast<int64_t>(random.Below(kRows)));
      weights.push_back(static_cast<float>(random.Below(9)) - 4.0f);
    }
    rows.push_back(static_cast<int64_t>(ids.size()));
  }
  for (const char* name : {"scalar", "avx2", "avx512"}) {
    const corelane::RowKernels* kernels = corelane::RowKernelsNamed(name);
    if (kernels == nullptr) continue;
    std::vector<float> out(batch * dimension);
    kernels->pool({*table, ids.data(), rows.data(), weights.data(), batch, Combiner::kSum, out.data(), dimension});
    for (int64_t row = 0; row < batch; ++row) {
      for (int64_t column = 0; column < dimension; ++column) {
        double expected = 0;
        for (int64_t at = rows[row]; at < rows[row + 1]; ++at) {
          const float* values = reinterpret_cast<const float*>(table->data);
          expected += static_cast<double>(weights[at]) * values[ids[at] * dimension + column];
        }
        if (std::abs(out[row * dimension + column] - expected) > 1e-3) Fail("a sum of rows is wrong");
      }
    }
  }
}

}  // namespace

void* operator new(std::size_t bytes) {
  ++g_allocations;
  void* found = std::malloc(bytes);
  if (found == nullptr) std::abort();
  return found;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

int main(int count, char** arguments) {
  if (count != 2) Fail("fuzz_program RUNS");
  const uint64_t runs = std::strtoull(arguments[1], nullptr, 10);
  for (uint64_t seed = 0; seed < runs; ++seed) {
    RunOnce(seed);
    SumOnce(seed);
  }
  std::printf("%llu programs ran\n", static_cast<unsigned long long>(runs));
}
