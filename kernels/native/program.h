// The features of a model as a flat program over vectors: what the graph compiler makes, and a session runs.
//
// Contract, as pseudocode. A register holds a vector of strings, ints (int64; 0 and 1 for bools) or floats, or `rows`:
// offsets, one more than the batch has rows, so that elements rows[r] to rows[r + 1] of a vector are of row r.
//
//   load f                out = the tensor fed to f, row by row
//   parse v, key, n, x    out = the n values of feature `key` of the tf.Example in each v[i]; x n times if it has none
//   parse_rows v, key     the same for any number of values; rows with them
//   sparse_rows f, v, s   the rows of a sparse tensor: indices [n, 2] fed to f, values to v, shape to s
//   grid v                rows[r] = r * len(v) / batch
//   even_rows n           rows[r] = r * n
//   split v, sep, skip    for each row r: its string at every `sep` (at runs of white space if empty); with `skip`, at any
//                         character of `sep` and without empty pieces; out = the pieces, rows with them
//   keep v, mask          out = [v[i] for i if mask[i]]
//   keep_rows rows, mask  rows[r] = how many of mask[0 .. rows[r]) are set
//   fill v, rows, x       as v, with x where a row has no element
//   pad v, rows, n, x     the first n elements of each row, or as many as the longest has if n is -1, and x for those
//                         that it has not
//   fill_rows rows        rows with one element where they have none
//   is_empty rows         out[r] = rows[r] == rows[r + 1]
//   take v, n, x          out[r] = v[r * n + x]
//   hash v, n             out = Fingerprint64(v[i]) % n
//   strong_hash v, n, k, l  out = SipHash of v[i] under the key k, l, % n
//   cross v, w.., n, k    out = k, joined with Fingerprint64 of v[i], of w[i] and so on, % n
//   text v                out = decimal v[i]
//   lower v               out = v[i] with a-z for A-Z
//   erase v, x            out = v[i] without the bytes of x
//   find v, table, x      out = table[v[i]], x if it is not there
//   bucketize v, bounds   out = how many of `bounds` are <= v[i]
//   equal, less, ...      out = v[i] op (w[i] or x)
//   add, subtract, ...    the same; of floats, with x only
//   select m, a, b        out = m[i] ? a[i] : b[i]
//   constant v, x         out = x for each of v
//
// These write to an output, at `offset` floats of each row:
//   pool ids, rows, t     sum, mean or sqrtn over a row's ids of table t's rows, times weights if there are any
//   gather ids, t, n      the rows of table t, n floats apart, or one after another if that is 0
//   count rows, n         how many elements the row has, n times
//   copy v                v itself; ints as floats by copy_as_floats
//   one_hot ids, depth    1 at each id of the row, added up unless `flag`; ids out of range are left out
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fingerprint.h"
#include "id_map.h"
#include "pooling.h"

namespace corelane {

enum class Opcode : uint8_t {
  kLoadStrings, kLoadInts, kLoadFloats, kParse, kParseRows, kSparseRows,
  kGrid, kEvenRows, kSplit, kKeep, kKeepRows, kFill, kPad, kFillRows, kIsEmpty, kTake,
  kHash, kStrongHash, kCross, kText, kLower, kErase, kFindString, kFindInt, kBucketize,
  kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kAnd, kOr, kNot,
  kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kFloorMod, kMaximum, kMinimum, kSelect, kConstant,
  kPool, kGather, kCount, kCopy, kCopyInts, kCopyAsFloats, kOneHot,
};

enum class Kind : uint8_t { kStrings, kInts, kFloats };
enum class Empty : uint8_t { kError, kZeros };  // what a row without an element gets; kError only at the batch's end

// `inputs` are registers, -1 for one that is not there. What else is read depends on the opcode.
struct Instruction {
  Opcode opcode = Opcode::kConstant;
  Kind kind = Kind::kInts;  // of the vectors it works on
  int32_t out = -1;         // register
  int32_t rows_out = -1;    // a second register, of rows
  int32_t inputs[4] = {-1, -1, -1, -1};
  int64_t number = 0;   // feed, buckets, the other operand, default, depth, width, distance
  std::string text;     // separator, the other operand, bytes
  bool flag = false;    // split: skip; pool, gather: ids are in range; one_hot: no more than 1; parse: has a default
  int32_t table = -1;   // of rows or of ids
  Combiner combiner = Combiner::kSum;
  Empty empty = Empty::kError;
  std::vector<float> bounds;  // of buckets; a float operand or default
  int64_t other = 0;  // pad, parse: default; take: which; strong_hash: the key's second half; sparse_rows: shape's feed
  std::string other_text;     // parse: the default
  int32_t output = -1;  // where it writes to
  int64_t offset = 0;   // of its part of a row; of hashes, the key; of sparse_rows, the values' feed
};

// What a request feeds, whoever holds it. Each reads a whole tensor, its elements in order; false if it is malformed.
class Feeds {
 public:
  virtual ~Feeds() = default;
  virtual const std::vector<int64_t>& Dims(uint32_t feed) const = 0;
  virtual bool Strings(uint32_t feed, std::vector<std::string_view>* out) const = 0;
  virtual bool Ints(uint32_t feed, std::vector<int64_t>* out) const = 0;
  virtual bool Floats(uint32_t feed, std::vector<float>* out) const = 0;
};

// A tensor that instructions write: [batch, width], a part of each row by each. A width of -1 is what the only
// instruction that writes it makes of a row.
struct OutputSpec {
  Kind kind = Kind::kFloats;
  int64_t width = 0;
};

struct Program {
  std::vector<Instruction> instructions;
  std::vector<uint32_t> feeds;  // those whose first axis is the batch; without any, a sparse tensor's shape says it
  std::vector<OutputSpec> outputs;
  std::vector<std::shared_ptr<const RowTable>> tables;
  std::vector<std::shared_ptr<const IdMap>> maps;
  int32_t registers = 0;
};

// Memory for the runs of a program.
//
// Thread safety: none; one session, one thread. The program is shared.
class ProgramSession {
 public:
  explicit ProgramSession(std::shared_ptr<const Program> program);

  // False, and `error` says why, if the values are at fault. No allocation once it has seen its largest batch.
  bool Run(const Feeds& feeds, std::string* error);

  // After a Run that is false: whether the program was made for such inputs at all. It was not if they differ in their
  // number of rows, or if a sparse one is not in order; the graph that the program is of may take them.
  bool covers_feeds() const { return covers_feeds_; }

  int64_t batch() const { return batch_; }
  int64_t width(size_t output) const { return widths_[output]; }
  const float* floats(size_t output) const { return floats_[output].data(); }
  const int64_t* ints(size_t output) const { return ints_[output].data(); }

 private:
  struct Register {
    std::vector<std::string_view> strings;
    std::vector<int64_t> ints;
    std::vector<float> floats;
    std::vector<int64_t> rows;
    std::vector<char> arena;  // what `text`, `lower` and `erase` wrote
    size_t size(Kind kind) const {
      return kind == Kind::kStrings ? strings.size() : kind == Kind::kInts ? ints.size() : floats.size();
    }
  };

  bool Step(const Instruction& instruction, const Feeds& feeds, std::string* error);
  bool Load(const Instruction& instruction, const Feeds& feeds, std::string* error);
  bool FindBatch(const Feeds& feeds, std::string* error);
  bool Parse(const Instruction& instruction, std::string* error);
  bool SparseRows(const Instruction& instruction, const Feeds& feeds, std::string* error);
  void Split(const Instruction& instruction);
  void Keep(const Instruction& instruction);
  void Fill(const Instruction& instruction);
  void Pad(const Instruction& instruction);
  void Rewrite(const Instruction& instruction);
  void Hash(const Instruction& instruction);
  void Find(const Instruction& instruction);
  void Take(const Instruction& instruction);
  void Compare(const Instruction& instruction);
  void Calculate(const Instruction& instruction);
  void CalculateFloats(const Instruction& instruction);
  bool Pool(const Instruction& instruction, std::string* error);
  bool Gather(const Instruction& instruction, std::string* error);
  void Copy(const Instruction& instruction);
  void Count(const Instruction& instruction);
  void OneHot(const Instruction& instruction);

  // Where an instruction that makes `made` elements a row writes, and the stride between rows.
  template <typename T>
  T* Target(const Instruction& instruction, int64_t made, int64_t* stride);

  const std::shared_ptr<const Program> program_;
  std::vector<Register> registers_;
  std::vector<std::vector<float>> floats_;  // by output
  std::vector<std::vector<int64_t>> ints_;
  std::vector<int64_t> widths_;
  std::vector<int64_t> shape_;  // of a sparse tensor
  int64_t batch_ = 0;
  bool covers_feeds_ = true;
};

}  // namespace corelane
