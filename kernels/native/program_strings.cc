// Instructions on strings: reading, splitting, rewriting and hashing them.
#include <charconv>
#include <cstring>

#include "example.h"
#include "fingerprint.h"
#include "program.h"
#include "siphash.h"

namespace corelane {
namespace {

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

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

bool ProgramSession::Parse(const Instruction& instruction, std::string* error) {
  const std::vector<std::string_view>& examples = registers_[instruction.inputs[0]].strings;
  Register& to = registers_[instruction.out];
  const size_t count = static_cast<size_t>(instruction.number);
  const bool has_rows = instruction.opcode == Opcode::kParseRows;
  std::vector<int64_t>* const rows = has_rows ? &registers_[instruction.rows_out].rows : nullptr;
  if (has_rows) rows->assign(1, 0);
  const auto parse = [&](auto* out, const auto& otherwise) {
    out->clear();
    for (size_t row = 0; row < examples.size(); ++row) {
      const Found found = ReadFeature(examples[row], instruction.text, out);
      if (has_rows && (found == Found::kYes || found == Found::kNo)) {
        rows->push_back(static_cast<int64_t>(out->size()));
        continue;
      }
      if (!has_rows && found == Found::kNo && instruction.flag) out->insert(out->end(), count, otherwise);
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

void ProgramSession::Rewrite(const Instruction& instruction) {
  const Register& from = registers_[instruction.inputs[0]];
  Register& to = registers_[instruction.out];
  const bool is_decimal = instruction.opcode == Opcode::kText;
  size_t count = from.ints.size(), bytes = count * kDecimalBytes;
  if (!is_decimal) {
    count = from.strings.size();
    bytes = 0;
    for (std::string_view text : from.strings) bytes += text.size();
  }
  to.strings.resize(count);
  to.arena.resize(bytes);
  char* next = to.arena.data();
  for (size_t index = 0; index < count; ++index) {
    char* end = next;
    if (is_decimal) {
      end = std::to_chars(next, next + kDecimalBytes, from.ints[index]).ptr;
    } else if (instruction.opcode == Opcode::kLower) {
      for (char c : from.strings[index]) *end++ = Lower(c);
    } else {
      for (char c : from.strings[index]) {
        if (instruction.text.find(c) == std::string::npos) *end++ = c;
      }
    }
    to.strings[index] = {next, static_cast<size_t>(end - next)};
    next = end;
  }
}

void ProgramSession::Hash(const Instruction& instruction) {
  const std::vector<std::string_view>& strings = registers_[instruction.inputs[0]].strings;
  std::vector<int64_t>& out = registers_[instruction.out].ints;
  const Modulus modulus(static_cast<uint64_t>(instruction.number));
  out.resize(strings.size());
  const auto each = [&](auto hash) {
    for (size_t index = 0; index < strings.size(); ++index) out[index] = static_cast<int64_t>(modulus(hash(index)));
  };
  if (instruction.opcode == Opcode::kHash) return each([&](size_t index) { return Fingerprint64(strings[index]); });
  if (instruction.opcode == Opcode::kStrongHash) {
    const uint64_t key[2] = {static_cast<uint64_t>(instruction.offset), static_cast<uint64_t>(instruction.other)};
    return each([&](size_t index) { return SipHash(key, strings[index]); });
  }
  each([&](size_t index) {
    uint64_t joined = static_cast<uint64_t>(instruction.offset);
    for (int position = 0; position < 4 && instruction.inputs[position] >= 0; ++position) {
      joined = JoinFingerprints(joined, Fingerprint64(registers_[instruction.inputs[position]].strings[index]));
    }
    return joined;
  });
}

void ProgramSession::Find(const Instruction& instruction) {
  const Register& from = registers_[instruction.inputs[0]];
  const IdMap& map = *program_->maps[instruction.table];
  std::vector<int64_t>& out = registers_[instruction.out].ints;
  const auto find = [&](const auto& keys) {
    out.resize(keys.size());
    for (size_t index = 0; index < keys.size(); ++index) out[index] = map.Find(keys[index], instruction.number);
  };
  if (instruction.opcode == Opcode::kFindString) return find(from.strings);
  find(from.ints);
}

}  // namespace corelane
