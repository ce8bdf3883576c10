#include "program_binding.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <stdexcept>

namespace py = pybind11;

namespace corelane {
namespace {

const std::map<std::string, Opcode>& Opcodes() {
  static const std::map<std::string, Opcode> kOpcodes = {
      {"load_strings", Opcode::kLoadStrings}, {"load_ints", Opcode::kLoadInts}, {"load_floats", Opcode::kLoadFloats},
      {"even_rows", Opcode::kEvenRows},       {"cross", Opcode::kCross},
      {"grid", Opcode::kGrid},                {"split", Opcode::kSplit},        {"keep", Opcode::kKeep},
      {"keep_rows", Opcode::kKeepRows},       {"fill", Opcode::kFill},          {"fill_rows", Opcode::kFillRows},
      {"is_empty", Opcode::kIsEmpty},         {"hash", Opcode::kHash},          {"text", Opcode::kText},
      {"find_string", Opcode::kFindString},   {"find_int", Opcode::kFindInt},   {"bucketize", Opcode::kBucketize},
      {"equal", Opcode::kEqual},              {"not_equal", Opcode::kNotEqual}, {"less", Opcode::kLess},
      {"less_equal", Opcode::kLessEqual},     {"greater", Opcode::kGreater},    {"greater_equal", Opcode::kGreaterEqual},
      {"and", Opcode::kAnd},                  {"or", Opcode::kOr},              {"not", Opcode::kNot},
      {"add", Opcode::kAdd},                  {"subtract", Opcode::kSubtract},  {"multiply", Opcode::kMultiply},
      {"floor_mod", Opcode::kFloorMod},       {"maximum", Opcode::kMaximum},    {"minimum", Opcode::kMinimum},
      {"select", Opcode::kSelect},            {"constant", Opcode::kConstant},  {"pool", Opcode::kPool},
      {"gather", Opcode::kGather},            {"copy", Opcode::kCopy},          {"copy_ints", Opcode::kCopyInts},
      {"divide", Opcode::kDivide},            {"parse", Opcode::kParse},
      {"parse_rows", Opcode::kParseRows},     {"take", Opcode::kTake},          {"strong_hash", Opcode::kStrongHash},
      {"lower", Opcode::kLower},              {"erase", Opcode::kErase},        {"floor_divide", Opcode::kFloorDivide},
      {"count", Opcode::kCount},              {"sparse_rows", Opcode::kSparseRows},
      {"one_hot", Opcode::kOneHot},           {"pad", Opcode::kPad},            {"copy_as_floats", Opcode::kCopyAsFloats},
  };
  return kOpcodes;
}

template <typename T>
T Get(const py::dict& from, const char* name, T otherwise) {
  return from.contains(name) ? from[name].cast<T>() : otherwise;
}

template <typename T>
T OneOf(const std::string& name, const std::map<std::string, T>& known) {
  const auto found = known.find(name);
  if (found == known.end()) throw py::value_error("a program has no " + name);
  return found->second;
}

const std::map<std::string, Kind> kKinds = {
    {"strings", Kind::kStrings}, {"ints", Kind::kInts}, {"floats", Kind::kFloats}};

Instruction InstructionFrom(const py::dict& from) {
  Instruction made;
  made.opcode = OneOf(from["opcode"].cast<std::string>(), Opcodes());
  made.kind = OneOf(Get<std::string>(from, "kind", "ints"), kKinds);
  made.out = Get(from, "out", -1);
  made.rows_out = Get(from, "rows_out", -1);
  const auto inputs = Get<std::vector<int32_t>>(from, "inputs", {});
  if (inputs.size() > 4) throw py::value_error("an instruction takes four vectors at most");
  std::copy(inputs.begin(), inputs.end(), made.inputs);
  made.number = Get<int64_t>(from, "number", 0);
  made.text = Get<std::string>(from, "text", "");
  made.flag = Get(from, "flag", false);
  made.table = Get(from, "table", -1);
  made.combiner = OneOf(Get<std::string>(from, "combiner", "sum"),
                        std::map<std::string, Combiner>{
                            {"sum", Combiner::kSum}, {"mean", Combiner::kMean}, {"sqrtn", Combiner::kSqrtN}});
  made.empty = OneOf(Get<std::string>(from, "empty", "error"),
                     std::map<std::string, Empty>{{"error", Empty::kError}, {"zeros", Empty::kZeros}});
  made.bounds = Get<std::vector<float>>(from, "bounds", {});
  made.other = Get<int64_t>(from, "other", 0);
  made.other_text = Get<std::string>(from, "other_text", "");
  made.output = Get(from, "output", -1);
  made.offset = Get<int64_t>(from, "offset", 0);
  return made;
}

// A file in memory, shared with whoever else maps it.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (file < 0 || fstat(file, &about) != 0) Fail(path, file);
    size_ = static_cast<size_t>(about.st_size);
    data_ = mmap(nullptr, size_, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    if (data_ == MAP_FAILED) Fail(path, file);
    close(file);
  }
  ~MappedFile() { munmap(data_, size_); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const char* data() const { return static_cast<const char*>(data_); }
  size_t size() const { return size_; }

 private:
  [[noreturn]] static void Fail(const std::string& path, int file) {
    const std::string why = std::strerror(errno);
    if (file >= 0) close(file);
    throw std::runtime_error(path + ": " + why);
  }

  void* data_ = nullptr;
  size_t size_ = 0;
};

std::shared_ptr<const RowTable> TableFrom(const py::dict& from) {
  auto made = std::make_shared<RowTable>();
  made->type = OneOf(from["type"].cast<std::string>(),
                     std::map<std::string, RowType>{
                         {"fp32", RowType::kFloat32}, {"bf16", RowType::kBfloat16}, {"int8", RowType::kInt8}});
  made->rows = from["rows"].cast<int64_t>();
  made->dimension = from["dimension"].cast<int64_t>();
  const std::string path = from["file"].cast<std::string>();
  auto file = std::make_shared<MappedFile>(path);
  if (made->rows < 1 || made->dimension < 1 ||
      file->size() != static_cast<size_t>(made->rows) * RowBytes(made->type, made->dimension)) {
    throw py::value_error(path + " has not the size of its table");
  }
  made->data = file->data();
  made->owner = std::move(file);
  return made;
}

std::shared_ptr<const IdMap> MapFrom(const py::dict& from) {
  auto ids = from["ids"].cast<std::vector<int64_t>>();
  if (from.contains("strings")) {
    auto keys = from["strings"].cast<std::vector<std::string>>();
    if (keys.size() != ids.size()) throw py::value_error("a vocabulary needs an id for each string");
    return std::make_shared<IdMap>(std::move(keys), std::move(ids));
  }
  const auto keys = from["ints"].cast<std::vector<int64_t>>();
  if (keys.size() != ids.size()) throw py::value_error("a vocabulary needs an id for each key");
  return std::make_shared<IdMap>(keys, std::move(ids));
}

void Check(bool holds) {
  if (!holds) throw py::value_error("a program names what it does not have");
}

}  // namespace

std::shared_ptr<const Program> ProgramFrom(const py::dict& from) {
  auto made = std::make_shared<Program>();
  made->registers = from["registers"].cast<int32_t>();
  made->feeds = from["feeds"].cast<std::vector<uint32_t>>();
  for (const auto& table : from["tables"].cast<std::vector<py::dict>>()) made->tables.push_back(TableFrom(table));
  for (const auto& map : from["maps"].cast<std::vector<py::dict>>()) made->maps.push_back(MapFrom(map));
  for (const auto& output : from["outputs"].cast<std::vector<py::dict>>()) {
    made->outputs.push_back({OneOf(output["kind"].cast<std::string>(), kKinds), output["width"].cast<int64_t>()});
  }
  for (const auto& instruction : from["instructions"].cast<std::vector<py::dict>>()) {
    made->instructions.push_back(InstructionFrom(instruction));
    const Instruction& last = made->instructions.back();
    for (int32_t input : last.inputs) Check(input >= -1 && input < made->registers);
    Check(last.out >= -1 && last.out < made->registers && last.rows_out >= -1 && last.rows_out < made->registers);
    Check(last.output >= -1 && last.output < static_cast<int32_t>(made->outputs.size()));
    const bool finds = last.opcode == Opcode::kFindString || last.opcode == Opcode::kFindInt;
    const bool looks_up = last.opcode == Opcode::kPool || last.opcode == Opcode::kGather;
    Check(!finds || (last.table >= 0 && last.table < static_cast<int32_t>(made->maps.size())));
    Check(!looks_up || (last.table >= 0 && last.table < static_cast<int32_t>(made->tables.size())));
    Check(last.opcode < Opcode::kHash || last.opcode > Opcode::kCross || last.number > 0);
    Check(last.opcode != Opcode::kTake || (last.other >= 0 && last.other < last.number));
    Check((last.opcode != Opcode::kParse && last.opcode != Opcode::kCount) || last.number >= 0);
    Check(last.opcode != Opcode::kPad || last.number >= -1);
    const bool has_operand = last.opcode == Opcode::kFill || last.opcode == Opcode::kPad ||
                             (last.opcode >= Opcode::kEqual && last.opcode <= Opcode::kMinimum && last.inputs[1] < 0);
    Check(!has_operand || last.kind != Kind::kFloats || last.bounds.size() == 1);
    const bool divides = last.opcode == Opcode::kFloorMod || last.opcode == Opcode::kFloorDivide;
    Check(!divides || last.inputs[1] >= 0 || last.number > 0);
  }
  return made;
}

}  // namespace corelane
