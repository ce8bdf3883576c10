#include "program.h"

#include <algorithm>

namespace corelane {
namespace {


// Nothing but the shape of a sparse tensor bounds its rows, and a row is memory.
constexpr int64_t kSparseRowsMax = 1 << 20;

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
  // The compiler lets only divisors above 0 through.
  const int64_t rest = left % right;
  if (opcode == Opcode::kFloorDivide) return left / right - (rest < 0 ? 1 : 0);
  return rest < 0 ? rest + right : rest;
}

}  // namespace

ProgramSession::ProgramSession(std::shared_ptr<const Program> program)
    : program_(std::move(program)),
      registers_(program_->registers),
      floats_(program_->outputs.size()),
      ints_(program_->outputs.size()),
      widths_(program_->outputs.size()) {}

bool ProgramSession::FindBatch(const Feeds& feeds, std::string* error) {
  batch_ = -1;
  for (uint32_t feed : program_->feeds) {
    const std::vector<int64_t>& dims = feeds.Dims(feed);
    if (dims.empty() || (batch_ != -1 && dims[0] != batch_)) {
      *error = "inputs differ in their number of rows";
      covers_feeds_ = false;
      return false;
    }
    batch_ = dims[0];
  }
  for (const Instruction& instruction : program_->instructions) {
    if (batch_ >= 0 || instruction.opcode != Opcode::kSparseRows) continue;
    if (!feeds.Ints(static_cast<uint32_t>(instruction.other), &shape_) || shape_.size() != 2 || shape_[0] < 0 ||
        shape_[0] > kSparseRowsMax) {
      *error = "a sparse input's shape is not that of up to " + std::to_string(kSparseRowsMax) + " rows";
      covers_feeds_ = false;
      return false;
    }
    batch_ = shape_[0];
  }
  return true;
}

bool ProgramSession::Run(const Feeds& feeds, std::string* error) {
  covers_feeds_ = true;
  if (!FindBatch(feeds, error)) return false;
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
    case Opcode::kParse:
    case Opcode::kParseRows: return Parse(instruction, error);
    case Opcode::kSparseRows: return SparseRows(instruction, feeds, error);
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
    case Opcode::kLower:
    case Opcode::kErase:
    case Opcode::kText: Rewrite(instruction); return true;
    case Opcode::kHash:
    case Opcode::kStrongHash:
    case Opcode::kCross: Hash(instruction); return true;
    case Opcode::kFindString:
    case Opcode::kFindInt: Find(instruction); return true;
    case Opcode::kTake: Take(instruction); return true;
    case Opcode::kBucketize: {
      const std::vector<float>&values = input(0).floats, &bounds = instruction.bounds;
      out->ints.resize(values.size());
      BestRowKernels().bucketize({values.data(), static_cast<int64_t>(values.size()), bounds.data(),
                                  static_cast<int64_t>(bounds.size()), out->ints.data()});
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
    case Opcode::kFloorDivide:
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
    case Opcode::kCount: Count(instruction); return true;
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

bool ProgramSession::SparseRows(const Instruction& instruction, const Feeds& feeds, std::string* error) {
  Register& out = registers_[instruction.out];
  std::vector<int64_t>& indices = out.ints;
  const uint32_t feed = static_cast<uint32_t>(instruction.number);
  if (!feeds.Ints(static_cast<uint32_t>(instruction.other), &shape_) || !feeds.Ints(feed, &indices)) {
    *error = "an input's values cannot be read";
    return false;
  }
  const std::vector<int64_t>& values = feeds.Dims(static_cast<uint32_t>(instruction.offset));
  const int64_t count = static_cast<int64_t>(indices.size() / 2);
  if (shape_.size() != 2 || indices.size() % 2 != 0 || values.size() != 1 || values[0] != count) {
    *error = "a sparse input needs indices of two axes, and a value for each of them";
    covers_feeds_ = false;
    return false;
  }
  if (shape_[0] != batch_) {
    *error = "inputs differ in their number of rows";
    covers_feeds_ = false;
    return false;
  }
  out.rows.assign(static_cast<size_t>(batch_ + 1), 0);
  int64_t last_row = 0, last_column = -1;
  for (int64_t index = 0; index < count; ++index) {
    const int64_t row = indices[2 * index], column = indices[2 * index + 1];
    const bool follows = row > last_row || (row == last_row && column > last_column);
    if (row < 0 || row >= batch_ || column < 0 || column >= shape_[1] || !follows) {
      *error = "indices[" + std::to_string(index) + "] of a sparse input is outside of its shape, or not after the one before";
      covers_feeds_ = false;
      return false;
    }
    ++out.rows[row + 1];
    last_row = row;
    last_column = column;
  }
  for (int64_t row = 0; row < batch_; ++row) out.rows[row + 1] += out.rows[row];
  return true;
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
  int64_t width = instruction.number;
  for (size_t row = 0; instruction.number < 0 && row + 1 < rows.size(); ++row) {
    width = std::max(width, rows[row + 1] - rows[row]);
  }
  width = std::max<int64_t>(width, 0);
  Register& to = registers_[instruction.out];
  switch (instruction.kind) {
    case Kind::kStrings: return PadRows<std::string_view>(from.strings, rows, width, instruction.text, &to.strings);
    case Kind::kInts: return PadRows<int64_t>(from.ints, rows, width, instruction.other, &to.ints);
    case Kind::kFloats: return PadRows<float>(from.floats, rows, width, instruction.bounds[0], &to.floats);
  }
}

void ProgramSession::Take(const Instruction& instruction) {
  const Register& from = registers_[instruction.inputs[0]];
  Register& to = registers_[instruction.out];
  const auto take = [&](const auto& values, auto* out) {
    out->resize(batch_);
    for (int64_t row = 0; row < batch_; ++row) (*out)[row] = values[row * instruction.number + instruction.other];
  };
  switch (instruction.kind) {
    case Kind::kStrings: return take(from.strings, &to.strings);
    case Kind::kInts: return take(from.ints, &to.ints);
    case Kind::kFloats: return take(from.floats, &to.floats);
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

}  // namespace corelane
