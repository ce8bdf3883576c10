// The table of contents of corelane.processor._native.
#include "binding/binding.h"

#include "codec/infer_codec.h"
#include "codec/model_spec.h"

namespace py = pybind11;

PYBIND11_MODULE(_native, module) {
  module.doc() = "Native parts of the request path.";

  BindChannel(module);
  BindModels(module);
  BindSessions(module);

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

  module.def(
      "peek_infer_target",
      [](const py::bytes& request) -> py::object {
        corelane::InferTarget target;
        if (!corelane::PeekInferTarget(std::string_view(request), &target)) return py::none();
        const auto text = [](std::string_view value) {
          return py::reinterpret_steal<py::object>(
              PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "replace"));
        };
        return py::make_tuple(text(target.model), text(target.version));
      },
      "(model_name, model_version) of a ModelInferRequest, as text; None if malformed.");
}
