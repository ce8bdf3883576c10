// The table of contents of corelane.kernels._native.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "instruction_sets.h"
#include "program_binding.h"

namespace py = pybind11;

namespace {

// A fed tensor: its shape, and its elements as strings, ints or floats.
using FedTuple = std::tuple<std::vector<int64_t>, std::vector<std::string>, std::vector<int64_t>, std::vector<float>>;

class ListFeeds : public corelane::Feeds {
 public:
  explicit ListFeeds(const std::vector<FedTuple>& feeds) : feeds_(feeds) {}

  const std::vector<int64_t>& Dims(uint32_t feed) const override { return std::get<0>(feeds_.at(feed)); }
  bool Strings(uint32_t feed, std::vector<std::string_view>* out) const override {
    const auto& strings = std::get<1>(feeds_.at(feed));
    out->assign(strings.begin(), strings.end());
    return true;
  }
  bool Ints(uint32_t feed, std::vector<int64_t>* out) const override {
    *out = std::get<2>(feeds_.at(feed));
    return true;
  }
  bool Floats(uint32_t feed, std::vector<float>* out) const override {
    *out = std::get<3>(feeds_.at(feed));
    return true;
  }

 private:
  const std::vector<FedTuple>& feeds_;
};

py::list RunProgram(const py::dict& description, const std::vector<FedTuple>& feeds) {
  const auto program = corelane::ProgramFrom(description);
  corelane::ProgramSession session(program);
  std::string error;
  if (!session.Run(ListFeeds(feeds), &error)) throw py::value_error(error);
  py::list outputs;
  for (size_t index = 0; index < program->outputs.size(); ++index) {
    const std::vector<int64_t> shape = {session.batch(), session.width(index)};
    if (program->outputs[index].kind == corelane::Kind::kFloats) {
      outputs.append(py::array_t<float>(shape, session.floats(index)));
    } else {
      outputs.append(py::array_t<int64_t>(shape, session.ints(index)));
    }
  }
  return outputs;
}

const corelane::RowKernels& KernelsNamed(const std::string& name) {
  const corelane::RowKernels* found = corelane::RowKernelsNamed(name);
  if (found == nullptr) throw py::value_error("this processor has no " + name);
  return *found;
}

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

// A table in somebody's buffer, and that all ids are of it.
corelane::RowTable TableOf(const std::string& type, const py::buffer_info& data, int64_t dimension,
                           const Array<int64_t>& ids) {
  corelane::RowTable table;
  table.type = type == "fp32"   ? corelane::RowType::kFloat32
               : type == "bf16" ? corelane::RowType::kBfloat16
                                : corelane::RowType::kInt8;
  table.dimension = dimension;
  const size_t bytes = static_cast<size_t>(data.size * data.itemsize);
  table.rows = static_cast<int64_t>(bytes / corelane::RowBytes(table.type, dimension));
  table.data = static_cast<const char*>(data.ptr);
  for (int64_t index = 0; index < ids.size(); ++index) {
    if (ids.data()[index] < 0 || ids.data()[index] >= table.rows) throw py::index_error("an id is not in the table");
  }
  return table;
}

py::array_t<float> PoolRows(const std::string& kernels, const std::string& type, const py::buffer& data,
                            int64_t dimension, const Array<int64_t>& ids, const Array<int64_t>& rows,
                            const Array<float>& weights, const std::string& combiner) {
  const corelane::RowKernels& found = KernelsNamed(kernels);
  const py::buffer_info buffer = data.request();
  const corelane::RowTable table = TableOf(type, buffer, dimension, ids);
  const int64_t batch = rows.size() - 1;
  if (batch < 0 || rows.data()[0] != 0 || rows.data()[batch] != ids.size() ||
      !std::is_sorted(rows.data(), rows.data() + batch + 1) || (weights.size() != 0 && weights.size() != ids.size())) {
    throw py::index_error("rows or weights do not fit the ids");
  }
  py::array_t<float> out(std::vector<int64_t>{batch, dimension});
  found.pool({table, ids.data(), rows.data(), weights.size() == 0 ? nullptr : weights.data(), batch,
              combiner == "mean"    ? corelane::Combiner::kMean
              : combiner == "sqrtn" ? corelane::Combiner::kSqrtN
                                    : corelane::Combiner::kSum,
              out.mutable_data(), dimension});
  return out;
}

py::array_t<float> GatherRows(const std::string& kernels, const std::string& type, const py::buffer& data,
                              int64_t dimension, const Array<int64_t>& ids) {
  const corelane::RowKernels& found = KernelsNamed(kernels);
  const py::buffer_info buffer = data.request();
  const corelane::RowTable table = TableOf(type, buffer, dimension, ids);
  py::array_t<float> out(std::vector<int64_t>{ids.size(), dimension});
  found.gather({table, ids.data(), ids.size(), 1, out.mutable_data(), dimension, dimension});
  return out;
}

std::vector<int64_t> Bucketize(const std::string& kernels, const std::vector<float>& values,
                               const std::vector<float>& bounds) {
  std::vector<int64_t> out(values.size());
  KernelsNamed(kernels).bucketize({values.data(), static_cast<int64_t>(values.size()), bounds.data(),
                                   static_cast<int64_t>(bounds.size()), out.data()});
  return out;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "Native kernels and what they may use.";
  module.def("instruction_sets", &corelane::InstructionSets,
             "Names of the vector instruction sets that processor and operating system support.");
  module.def("fingerprint64", [](const py::bytes& text) { return corelane::Fingerprint64(std::string_view(text)); },
             "FarmHash's Fingerprint64, by which StringToHashBucketFast chooses its bucket.");
  module.def("run_program", &RunProgram, py::arg("program"), py::arg("feeds"),
             "Runs a program of features once; its outputs as [batch, width].");
  module.def("pool_rows", &PoolRows, py::arg("kernels"), py::arg("type"), py::arg("table"), py::arg("dimension"),
             py::arg("ids"), py::arg("rows"), py::arg("weights"), py::arg("combiner"),
             "Sums of rows of a table, [len(rows) - 1, dimension].");
  module.def("gather_rows", &GatherRows, py::arg("kernels"), py::arg("type"), py::arg("table"), py::arg("dimension"),
             py::arg("ids"), "Rows of a table, [len(ids), dimension].");
  module.def("bucketize", &Bucketize, py::arg("kernels"), py::arg("values"), py::arg("bounds"),
             "How many of the sorted bounds are not above each value.");
}
