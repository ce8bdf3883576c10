#include "program.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "example.h"

namespace corelane {
namespace {

// From here on a table is not in the nearest caches, and fetching its rows ahead of time pays.
constexpr int64_t kPrefetchBytes = 512 << 10;
constexpr int64_t kPrefetchAhead = 16;
constexpr size_t kDecimalBytes = 20;  // of the longest int64 and its sign

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

void SplitAtSpace(std::string_view text, std::vector<std::string_view>* out) {
  const char *at = text.data(), *const end = at + text.size();
  while (true) {
    while (at != end && IsSpace(*at)) ++at;
    if (at == end) return;
    const char* const begin = at;
    while (at != end && !IsSpace(*at)) ++at;
    out->emplace_back(begin, at - begin);
  }
}

void SplitAtText(std::string_view text, std::string_view separator, std::vector<std::string_view>* out) {
  const auto find = [separator](std::string_view in) {
    if (separator.size() > 1) return in.find(separator);
    const void* found = in.empty() ? nullptr : std::memchr(in.data(), separator[0], in.size());
    return found == nullptr ? std::string_view::npos : static_cast<const char*>(found) - in.data();
  };
  for (size_t at = find(text); at != std::string_view::npos; at = find(text)) {
    out->push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  out->push_back(text);
}

void SplitAtAnyOf(std::string_view text, std::string_view separators, std::vector<std::string_view>* out) {
  while (true) {
    const size_t at = text.find_first_of(separators);
    if (at != 0 && !text.empty()) out->push_back(text.substr(0, at));
    if (at == std::string_view::npos) return;
    text.remove_prefix(at + 1);
  }
}

template <typename T>
void KeepMasked(const std::vector<T>& from, const std::vector<int64_t>& mask, std::vector<T>* to) {
  to->clear();
  for (size_t index = 0; index < from.size(); ++index) {
    if (mask[index] != 0) to->push_back(from[index]);
  }
}

template <typename T>
void FillEmpty(const std::vector<T>& from, const std::vector<int64_t>& rows, T value, std::vector<T>* to) {
  to->clear();
  for (size_t row = 0; row + 1 < rows.size(); ++row) {
    if (rows[row] == rows[row + 1]) to->push_back(value);
    to->insert(to->end(), from.begin() + rows[row], from.begin() + rows[row + 1]);
  }
}

template <typename T>
void PadRows(const std::vector<T>& from, const std::vector<int64_t>& rows, int64_t width, T value, std::vector<T>* to) {
  to->assign((rows.size() - 1) * width, value);
  for (size_t row = 0; row + 1 < rows.size(); ++row) {
    const int64_t count = std::min(width, rows[row + 1] - rows[row]);
    std::copy_n(from.begin() + rows[row], count, to->begin() + row * width);
  }
}

template <typename T>
int64_t Holds(Opcode opcode, const T& left, const T& right) {
  switch (opcode) {
    case Opcode::kEqual: return left == right;
    case Opcode::kNotEqual: return left != right;
    case Opcode::kLess: return left < right;
    case Opcode::kLessEqual: return left <= right;
    case Opcode::kGreater: return left > right;
    default: return left >= right;
  }
}

// Integers wrap around, as TensorFlow's do.
int64_t Calculated(Opcode opcode, int64_t left, int64_t right) {
  const uint64_t a = static_cast<uint64_t>(left), b = static_cast<uint64_t>(right);
  switch (opcode) {
    case Opcode::kAdd: return static_cast<int64_t>(a + b);
    case Opcode::kSubtract: return static_cast<int64_t>(a - b);
    case Opcode::kMultiply: return static_cast<int64_t>(a * b);
    case Opcode::kMaximum: return std::max(left, right);
    case Opcode::kMinimum: return std::min(left, right);
    case Opcode::kAnd: return left & right;
    case Opcode::kOr: return left | right;
    case Opcode::kNot: return left == 0;
    default: break;
  }
  const int64_t rest = left % right;  // the compiler lets only divisors above 0 through
  return rest < 0 ? rest + right : rest;
}

// The first id that is not in the table, or none.
bool FindOutside(const std::vector<int64_t>& ids, int64_t rows, std::string* error) {
  for (size_t index = 0; index < ids.size(); ++index) {
    if (static_cast<uint64_t>(ids[index]) >= static_cast<uint64_t>(rows)) {
      *error = "indices[" + std::to_string(index) + "] = " + std::to_string(ids[index]) + " is not in [0, " +
               std::to_string(rows) + ")";
      return true;
    }
  }
  return false;
}

}  // namespace

ProgramSession::ProgramSession(std::shared_ptr<const Program> program)
    : program_(std::move(program)),
      registers_(program_->registers),
      floats_(program_->outputs.size()),
      ints_(program_->outputs.size()),
      widths_(program_->outputs.size()) {}

bool ProgramSession::Run(const Feeds& feeds, std::string* error) {
  batch_ = -1;
  for (uint32_t feed : program_->feeds) {
    const std::vector<int64_t>& dims = feeds.Dims(feed);
    if (dims.empty() || (batch_ != -1 && dims[0] != batch_)) {
      *error = "inputs differ in their number of rows";
      return false;
    }
    batch_ = dims[0];
  }
  for (size_t index = 0; index < widths_.size(); ++index) {
    const OutputSpec& output = program_->outputs[index];
    widths_[index] = output.width;
    if (output.width < 0) continue;
    const size_t size = static_cast<size_t>(output.width * batch_);
    if (output.kind == Kind::kFloats) {
      floats_[index].resize(size);
    } else {
      ints_[index].resize(size);
    }
  }
  for (const Instruction& instruction : program_->instructions) {
    if (!Step(instruction, feeds, error)) return false;
  }
  return true;
}

bool ProgramSession::Step(const Instruction& instruction, const Feeds& feeds, std::string* error) {
  const auto input = [&](int position) -> const Register& { return registers_[instruction.inputs[position]]; };
  Register* const out = instruction.out < 0 ? nullptr : &registers_[instruction.out];
  switch (instruction.opcode) {
    case Opcode::kLoadStrings:
    case Opcode::kLoadInts:
    case Opcode::kLoadFloats: return Load(instruction, feeds, error);
    case Opcode::kParse: return Parse(instruction, error);
    case Opcode::kGrid: {
      const int64_t count = static_cast<int64_t>(input(0).size(instruction.kind));
      out->rows.resize(batch_ + 1);
      for (int64_t row = 0; row <= batch_; ++row) out->rows[row] = batch_ == 0 ? 0 : row * count / batch_;
      return true;
    }
    case Opcode::kEvenRows: {
      out->rows.resize(batch_ + 1);
      for (int64_t row = 0; row <= batch_; ++row) out->rows[row] = row * instruction.number;
      return true;
    }
    case Opcode::kSplit: Split(instruction); return true;
    case Opcode::kKeep: Keep(instruction); return true;
    case Opcode::kKeepRows: {
      const std::vector<int64_t>&rows = input(0).rows, &mask = input(1).ints;
      out->rows.resize(rows.size());
      int64_t kept = 0, at = 0;
      for (size_t row = 0; row < rows.size(); ++row) {
        for (; at < rows[row]; ++at) kept += mask[at];
        out->rows[row] = kept;
      }
      return true;
    }
    case Opcode::kFill: Fill(instruction); return true;
    case Opcode::kPad: Pad(instruction); return true;
    case Opcode::kFillRows: {
      const std::vector<int64_t>& rows = input(0).rows;
      out->rows.resize(rows.size());
      out->rows[0] = 0;
      for (size_t row = 1; row < rows.size(); ++row) {
        out->rows[row] = out->rows[row - 1] + std::max<int64_t>(1, rows[row] - rows[row - 1]);
      }
      return true;
    }
    case Opcode::kIsEmpty: {
      const std::vector<int64_t>& rows = input(0).rows;
      out->ints.resize(batch_);
      for (int64_t row = 0; row < batch_; ++row) out->ints[row] = rows[row] == rows[row + 1];
      return true;
    }
    case Opcode::kHash: {
      const std::vector<std::string_view>& strings = input(0).strings;
      const Modulus modulus(static_cast<uint64_t>(instruction.number));
      out->ints.resize(strings.size());
      for (size_t index = 0; index < strings.size(); ++index) {
        out->ints[index] = static_cast<int64_t>(modulus(Fingerprint64(strings[index])));
      }
      return true;
    }
    case Opcode::kCross: {
      const Modulus modulus(static_cast<uint64_t>(instruction.number));
      out->ints.resize(input(0).strings.size());
      for (size_t index = 0; index < out->ints.size(); ++index) {
        uint64_t joined = static_cast<uint64_t>(instruction.offset);
        for (int position = 0; position < 4 && instruction.inputs[position] >= 0; ++position) {
          joined = JoinFingerprints(joined, Fingerprint64(input(position).strings[index]));
        }
        out->ints[index] = static_cast<int64_t>(modulus(joined));
      }
      return true;
    }
    case Opcode::kText: Text(instruction); return true;
    case Opcode::kFindString: {
      const std::vector<std::string_view>& strings = input(0).strings;
      const IdMap& map = *program_->maps[instruction.table];
      out->ints.resize(strings.size());
      for (size_t index = 0; index < strings.size(); ++index) {
        out->ints[index] = map.Find(strings[index], instruction.number);
      }
      return true;
    }
    case Opcode::kFindInt: {
      const std::vector<int64_t>& ints = input(0).ints;
      const IdMap& map = *program_->maps[instruction.table];
      out->ints.resize(ints.size());
      for (size_t index = 0; index < ints.size(); ++index) out->ints[index] = map.Find(ints[index], instruction.number);
      return true;
    }
    case Opcode::kBucketize: {
      const std::vector<float>&values = input(0).floats, &bounds = instruction.bounds;
      out->ints.resize(values.size());
      for (size_t index = 0; index < values.size(); ++index) {
        out->ints[index] = std::upper_bound(bounds.begin(), bounds.end(), values[index]) - bounds.begin();
      }
      return true;
    }
    case Opcode::kEqual:
    case Opcode::kNotEqual:
    case Opcode::kLess:
    case Opcode::kLessEqual:
    case Opcode::kGreater:
    case Opcode::kGreaterEqual: Compare(instruction); return true;
    case Opcode::kAnd:
    case Opcode::kOr:
    case Opcode::kNot:
    case Opcode::kAdd:
    case Opcode::kSubtract:
    case Opcode::kMultiply:
    case Opcode::kDivide:
    case Opcode::kFloorMod:
    case Opcode::kMaximum:
    case Opcode::kMinimum: Calculate(instruction); return true;
    case Opcode::kSelect: {
      const std::vector<int64_t>&mask = input(0).ints, &yes = input(1).ints, &no = input(2).ints;
      out->ints.resize(mask.size());
      for (size_t index = 0; index < mask.size(); ++index) out->ints[index] = mask[index] != 0 ? yes[index] : no[index];
      return true;
    }
    case Opcode::kConstant: out->ints.assign(input(0).size(instruction.kind), instruction.number); return true;
    case Opcode::kPool: return Pool(instruction, error);
    case Opcode::kGather: return Gather(instruction, error);
    case Opcode::kCopy:
    case Opcode::kCopyAsFloats:
    case Opcode::kCopyInts: Copy(instruction); return true;
    case Opcode::kOneHot: OneHot(instruction); return true;
  }
  return true;
}

bool ProgramSession::Load(const Instruction& instruction, const Feeds& feeds, std::string* error) {
  const uint32_t feed = static_cast<uint32_t>(instruction.number);
  Register& out = registers_[instruction.out];
  const bool fine = instruction.opcode == Opcode::kLoadStrings ? feeds.Strings(feed, &out.strings)
                    : instruction.opcode == Opcode::kLoadInts  ? feeds.Ints(feed, &out.ints)
                                                               : feeds.Floats(feed, &out.floats);
  if (!fine) *error = "an input's values cannot be read";
  return fine;
}

bool ProgramSession::Parse(const Instruction& instruction, std::string* error) {
  const std::vector<std::string_view>& examples = registers_[instruction.inputs[0]].strings;
  Register& to = registers_[instruction.out];
  const size_t count = static_cast<size_t>(instruction.number);
  const auto parse = [&](auto* out, const auto& otherwise) {
    out->clear();
    for (size_t row = 0; row < examples.size(); ++row) {
      const Found found = ReadFeature(examples[row], instruction.text, out);
      if (found == Found::kNo && instruction.flag) out->insert(out->end(), count, otherwise);
      if ((found == Found::kYes || (found == Found::kNo && instruction.flag)) && out->size() == (row + 1) * count) continue;
      *error = "example " + std::to_string(row) + ": feature " + instruction.text +
               (found == Found::kMalformed   ? " cannot be read"
                : found == Found::kOtherType ? " is of another type"
                : found == Found::kNo        ? " is required but could not be found"
                                             : " has not as many values as the model takes");
      return false;
    }
    return true;
  };
  switch (instruction.kind) {
    case Kind::kStrings: return parse(&to.strings, std::string_view(instruction.other_text));
    case Kind::kInts: return parse(&to.ints, instruction.other);
    default: return parse(&to.floats, instruction.bounds.empty() ? 0.0f : instruction.bounds[0]);
  }
}

void ProgramSession::Split(const Instruction& instruction) {
  const std::vector<std::string_view>& strings = registers_[instruction.inputs[0]].strings;
  std::vector<std::string_view>* const pieces = &registers_[instruction.out].strings;
  std::vector<int64_t>& rows = registers_[instruction.rows_out].rows;
  pieces->clear();
  rows.clear();
  rows.push_back(0);
  for (std::string_view text : strings) {
    if (instruction.flag) {
      SplitAtAnyOf(text, instruction.text, pieces);
    } else if (instruction.text.empty()) {
      SplitAtSpace(text, pieces);
    } else {
      SplitAtText(text, instruction.text, pieces);
    }
    rows.push_back(static_cast<int64_t>(pieces->size()));
  }
}

void ProgramSession::Keep(const Instruction& instruction) {
  const Register& from = registers_[instruction.inputs[0]];
  const std::vector<int64_t>& mask = registers_[instruction.inputs[1]].ints;
  Register& to = registers_[instruction.out];
  switch (instruction.kind) {
    case Kind::kStrings: return KeepMasked(from.strings, mask, &to.strings);
    case Kind::kInts: return KeepMasked(from.ints, mask, &to.ints);
    case Kind::kFloats: return KeepMasked(from.floats, mask, &to.floats);
  }
}

void ProgramSession::Fill(const Instruction& instruction) {
  const Register& from = registers_[instruction.inputs[0]];
  const std::vector<int64_t>& rows = registers_[instruction.inputs[1]].rows;
  Register& to = registers_[instruction.out];
  switch (instruction.kind) {
    case Kind::kStrings: return FillEmpty<std::string_view>(from.strings, rows, instruction.text, &to.strings);
    case Kind::kInts: return FillEmpty<int64_t>(from.ints, rows, instruction.number, &to.ints);
    case Kind::kFloats: return FillEmpty<float>(from.floats, rows, instruction.bounds[0], &to.floats);
  }
}

void ProgramSession::Pad(const Instruction& instruction) {
  const Register& from = registers_[instruction.inputs[0]];
  const std::vector<int64_t>& rows = registers_[instruction.inputs[1]].rows;
  const int64_t width = instruction.number;
  Register& to = registers_[instruction.out];
  switch (instruction.kind) {
    case Kind::kStrings: return PadRows<std::string_view>(from.strings, rows, width, instruction.text, &to.strings);
    case Kind::kInts: return PadRows<int64_t>(from.ints, rows, width, instruction.other, &to.ints);
    case Kind::kFloats: return PadRows<float>(from.floats, rows, width, instruction.bounds[0], &to.floats);
  }
}

void ProgramSession::Text(const Instruction& instruction) {
  const std::vector<int64_t>& ints = registers_[instruction.inputs[0]].ints;
  Register& to = registers_[instruction.out];
  to.strings.resize(ints.size());
  to.arena.resize(ints.size() * kDecimalBytes);
  char* next = to.arena.data();
  for (size_t index = 0; index < ints.size(); ++index) {
    char* const end = std::to_chars(next, next + kDecimalBytes, ints[index]).ptr;
    to.strings[index] = {next, static_cast<size_t>(end - next)};
    next = end;
  }
}

void ProgramSession::Compare(const Instruction& instruction) {
  const Register& left = registers_[instruction.inputs[0]];
  const Register* const right = instruction.inputs[1] < 0 ? nullptr : &registers_[instruction.inputs[1]];
  std::vector<int64_t>& out = registers_[instruction.out].ints;
  out.resize(left.size(instruction.kind));
  const auto compare = [&](const auto& values, const auto* others, const auto& other) {
    for (size_t index = 0; index < values.size(); ++index) {
      out[index] = Holds(instruction.opcode, values[index], others == nullptr ? other : (*others)[index]);
    }
  };
  switch (instruction.kind) {
    case Kind::kStrings: {
      return compare(left.strings, right ? &right->strings : nullptr, std::string_view(instruction.text));
    }
    case Kind::kInts: return compare(left.ints, right ? &right->ints : nullptr, instruction.number);
    case Kind::kFloats: {
      return compare(left.floats, right ? &right->floats : nullptr, right ? 0.0f : instruction.bounds[0]);
    }
  }
}

void ProgramSession::Calculate(const Instruction& instruction) {
  if (instruction.kind == Kind::kFloats) return CalculateFloats(instruction);
  const std::vector<int64_t>& left = registers_[instruction.inputs[0]].ints;
  const std::vector<int64_t>* right = instruction.inputs[1] < 0 ? nullptr : &registers_[instruction.inputs[1]].ints;
  std::vector<int64_t>& out = registers_[instruction.out].ints;
  out.resize(left.size());
  for (size_t index = 0; index < left.size(); ++index) {
    out[index] =
        Calculated(instruction.opcode, left[index], right == nullptr ? instruction.number : (*right)[index]);
  }
}

void ProgramSession::CalculateFloats(const Instruction& instruction) {
  const std::vector<float>& from = registers_[instruction.inputs[0]].floats;
  std::vector<float>& out = registers_[instruction.out].floats;
  const float other = instruction.bounds[0];
  out.resize(from.size());
  const auto each = [&](auto compute) {
    for (size_t index = 0; index < from.size(); ++index) out[index] = compute(from[index]);
  };
  switch (instruction.opcode) {
    case Opcode::kAdd: return each([other](float value) { return value + other; });
    case Opcode::kSubtract: return each([other](float value) { return value - other; });
    case Opcode::kMultiply: return each([other](float value) { return value * other; });
    default: return each([other](float value) { return value / other; });
  }
}

template <typename T>
T* ProgramSession::Target(const Instruction& instruction, int64_t made, int64_t* stride) {
  const size_t output = static_cast<size_t>(instruction.output);
  std::vector<T>* buffer;
  if constexpr (std::is_same_v<T, float>) {
    buffer = &floats_[output];
  } else {
    buffer = &ints_[output];
  }
  if (program_->outputs[output].width < 0) {
    widths_[output] = made;
    buffer->resize(static_cast<size_t>(made * batch_));
  }
  *stride = widths_[output];
  return buffer->data() + instruction.offset;
}

bool ProgramSession::Pool(const Instruction& instruction, std::string* error) {
  const std::vector<int64_t>& ids = registers_[instruction.inputs[0]].ints;
  const std::vector<int64_t>& rows = registers_[instruction.inputs[1]].rows;
  const float* const weights =
      instruction.inputs[2] < 0 ? nullptr : registers_[instruction.inputs[2]].floats.data();
  const RowTable& table = *program_->tables[instruction.table];
  if (!instruction.flag && FindOutside(ids, table.rows, error)) return false;
  if (instruction.empty == Empty::kError && batch_ > 0 && rows[batch_] == rows[batch_ - 1]) {
    *error = "the last row of a feature is empty, and its lookup has no value for that";
    return false;
  }
  int64_t stride;
  float* out = Target<float>(instruction, table.dimension, &stride);
  const SumRows sum = BestRowKernels().sum;
  const size_t row_bytes = RowBytes(table.type, table.dimension);
  const bool is_far = table.rows * static_cast<int64_t>(row_bytes) > kPrefetchBytes;
  int64_t fetched = 0;
  for (int64_t row = 0; row < batch_; ++row, out += stride) {
    const int64_t begin = rows[row], count = rows[row + 1] - begin;
    if (is_far) {
      const int64_t until = std::min<int64_t>(rows[row + 1] + kPrefetchAhead, static_cast<int64_t>(ids.size()));
      for (; fetched < until; ++fetched) PrefetchRow(table, row_bytes, ids[fetched]);
    }
    float scale = 1.0f;
    if (instruction.combiner != Combiner::kSum) {
      const bool is_mean = instruction.combiner == Combiner::kMean;
      float total = static_cast<float>(count);
      if (weights != nullptr) {
        total = 0.0f;
        for (int64_t index = begin; index < begin + count; ++index) {
          total += is_mean ? weights[index] : weights[index] * weights[index];
        }
      }
      const float divisor = is_mean ? total : std::sqrt(total);
      scale = divisor == 0.0f ? 0.0f : 1.0f / divisor;
    }
    sum(table, ids.data() + begin, weights == nullptr ? nullptr : weights + begin, count, scale, out);
  }
  return true;
}

bool ProgramSession::Gather(const Instruction& instruction, std::string* error) {
  const std::vector<int64_t>& ids = registers_[instruction.inputs[0]].ints;
  const RowTable& table = *program_->tables[instruction.table];
  if (!instruction.flag && FindOutside(ids, table.rows, error)) return false;
  const int64_t count = static_cast<int64_t>(ids.size()), by_row = batch_ == 0 ? 0 : count / batch_;
  int64_t stride;
  float* out = Target<float>(instruction, by_row * table.dimension, &stride);
  const SumRows sum = BestRowKernels().sum;
  const size_t row_bytes = RowBytes(table.type, table.dimension);
  const bool is_far = table.rows * static_cast<int64_t>(row_bytes) > kPrefetchBytes;
  for (int64_t index = 0; is_far && index < std::min(kPrefetchAhead, count); ++index) {
    PrefetchRow(table, row_bytes, ids[index]);
  }
  int64_t index = 0;
  for (int64_t row = 0; row < batch_; ++row, out += stride) {
    for (int64_t place = 0; place < by_row; ++place, ++index) {
      if (is_far && index + kPrefetchAhead < count) PrefetchRow(table, row_bytes, ids[index + kPrefetchAhead]);
      sum(table, &ids[index], nullptr, 1, 1.0f, out + place * table.dimension);
    }
  }
  return true;
}

void ProgramSession::Copy(const Instruction& instruction) {
  const auto copy = [&](const auto& from, auto zero) {
    using T = decltype(zero);
    const int64_t by_row = batch_ == 0 ? 0 : static_cast<int64_t>(from.size()) / batch_;
    int64_t stride;
    T* out = Target<T>(instruction, by_row, &stride);
    for (int64_t row = 0; row < batch_; ++row, out += stride) {
      std::copy_n(from.begin() + row * by_row, by_row, out);
    }
  };
  const Register& from = registers_[instruction.inputs[0]];
  switch (instruction.opcode) {
    case Opcode::kCopy: return copy(from.floats, 0.0f);
    case Opcode::kCopyAsFloats: return copy(from.ints, 0.0f);
    default: return copy(from.ints, int64_t{0});
  }
}

void ProgramSession::OneHot(const Instruction& instruction) {
  const std::vector<int64_t>& ids = registers_[instruction.inputs[0]].ints;
  const std::vector<int64_t>& rows = registers_[instruction.inputs[1]].rows;
  const int64_t depth = instruction.number;
  int64_t stride;
  float* out = Target<float>(instruction, depth, &stride);
  for (int64_t row = 0; row < batch_; ++row, out += stride) {
    std::fill_n(out, depth, 0.0f);
    for (int64_t index = rows[row]; index < rows[row + 1]; ++index) {
      if (ids[index] < 0 || ids[index] >= depth) continue;
      out[ids[index]] = instruction.flag ? 1.0f : out[ids[index]] + 1.0f;
    }
  }
}

}  // namespace corelane
