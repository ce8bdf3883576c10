// Instructions that write to an output: lookups of rows and sums of them, copies, one-hot vectors.
#include <algorithm>

#include "program.h"

namespace corelane {
namespace {

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
  BestRowKernels().pool({table, ids.data(), rows.data(), weights, batch_, instruction.combiner, out, stride});
  return true;
}

bool ProgramSession::Gather(const Instruction& instruction, std::string* error) {
  const std::vector<int64_t>& ids = registers_[instruction.inputs[0]].ints;
  const RowTable& table = *program_->tables[instruction.table];
  if (!instruction.flag && FindOutside(ids, table.rows, error)) return false;
  const int64_t count = static_cast<int64_t>(ids.size()), by_row = batch_ == 0 ? 0 : count / batch_;
  const int64_t pitch = instruction.number == 0 ? table.dimension : instruction.number;
  int64_t stride;
  float* out = Target<float>(instruction, by_row * pitch, &stride);
  BestRowKernels().gather({table, ids.data(), batch_, by_row, out, stride, pitch});
  return true;
}

void ProgramSession::Count(const Instruction& instruction) {
  const std::vector<int64_t>& rows = registers_[instruction.inputs[0]].rows;
  int64_t stride;
  float* out = Target<float>(instruction, instruction.number, &stride);
  for (int64_t row = 0; row < batch_; ++row, out += stride) {
    std::fill_n(out, instruction.number, static_cast<float>(rows[row + 1] - rows[row]));
  }
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
