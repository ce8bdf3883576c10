// The table of contents of processor._native.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <tuple>

#include "model_spec.h"
#include "tensorflow_model.h"

namespace py = pybind11;

namespace {

// (alias, "operation:index", dtype, dims or None)
using SlotTuple = std::tuple<std::string, std::string, int, std::optional<std::vector<int64_t>>>;

std::vector<corelane::TensorSlot> MakeSlots(const std::vector<SlotTuple>& tuples, std::vector<std::string>* names) {
  std::vector<corelane::TensorSlot> slots;
  for (const auto& [alias, name, dtype, dims] : tuples) {
    corelane::TensorSlot slot;
    slot.alias = alias;
    slot.dtype = dtype;
    slot.rank_known = dims.has_value();
    if (dims) slot.dims = *dims;
    slots.push_back(std::move(slot));
    names->push_back(name);
  }
  return slots;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "Native parts of the request path.";

  using corelane::TensorFlowModel;
  py::class_<TensorFlowModel>(module, "TensorFlowModel")
      .def_static(
          "load",
          [](const std::string& library, const std::string& folder, const std::string& config,
             const std::vector<std::string>& op_libraries) {
            std::string meta_graph, error;
            std::unique_ptr<TensorFlowModel> model;
            {
              py::gil_scoped_release release;
              model = TensorFlowModel::Load(library, folder, config, op_libraries, &meta_graph, &error);
            }
            if (model == nullptr) throw std::runtime_error(error);
            return py::make_tuple(std::move(model), py::bytes(meta_graph));
          },
          py::arg("library"), py::arg("folder"), py::arg("config"), py::arg("op_libraries"))
      .def("add_signature",
           [](TensorFlowModel& self, const std::string& name, const std::vector<SlotTuple>& inputs,
              const std::vector<SlotTuple>& outputs) {
             corelane::ModelSignature signature;
             std::vector<std::string> input_names, output_names;
             signature.name = name;
             signature.inputs = MakeSlots(inputs, &input_names);
             signature.outputs = MakeSlots(outputs, &output_names);
             return self.AddSignature(std::move(signature), input_names, output_names);
           })
      .def("set_identity", &TensorFlowModel::SetIdentity)
      .def("predict", [](const TensorFlowModel& self, const py::bytes& request) {
        const std::string_view view(request);
        std::string out;
        int code = 0;
        TensorFlowModel::Result result;
        {
          py::gil_scoped_release release;
          result = self.Predict(view, &out, &code);
        }
        return py::make_tuple(static_cast<int>(result), py::bytes(out), code);
      });

  module.def(
      "peek_model_spec",
      [](const py::bytes& request, int depth) -> py::object {
        corelane::ModelSpec spec;
        if (corelane::PeekModelSpec(std::string_view(request), depth, &spec) != corelane::PeekResult::kOk) {
          return py::none();
        }
        const auto text = [](const std::string& value) {
          // Names travel as UTF-8; bytes that are not can match no name, and must not fail the peek.
          return py::reinterpret_steal<py::object>(
              PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "replace"));
        };
        return py::make_tuple(spec.present, text(spec.name),
                              spec.version ? py::object(py::int_(*spec.version)) : py::none(),
                              spec.version_label ? text(*spec.version_label) : py::none(),
                              text(spec.signature_name));
      },
      py::arg("request"), py::arg("depth") = 0,
      "(present, name, version, version_label, signature_name) of a request's ModelSpec; None if malformed.");
}
