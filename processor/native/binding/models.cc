// Models that run without Python.
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <optional>
#include <tuple>

#include "binding/binding.h"
#include "engines/fused_model.h"
#include "engines/memory.h"
#include "engines/openvino_model.h"
#include "sessions/predict_session.h"
#include "program_binding.h"
#include "engines/tensorflow_model.h"

namespace py = pybind11;
using corelane::Model;
using corelane::TensorFlowModel;

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

void BindModels(py::module_& module) {
  py::class_<corelane::OutsizedRuns>(module, "OutsizedRuns")
      .def(py::init<>())
      .def("ran", &corelane::OutsizedRuns::Ran, py::arg("bytes"));
  module.def("give_back_heap", &corelane::GiveBackHeap, py::call_guard<py::gil_scoped_release>());

  py::class_<corelane::ModelSession, std::shared_ptr<corelane::ModelSession>>(module, "ModelSession");

  py::class_<Model, std::shared_ptr<Model>>(module, "Model")
      .def("make_session",
           [](Model& self) { return std::shared_ptr<corelane::ModelSession>(self.MakeSession()); },
           py::keep_alive<0, 1>());

  py::class_<TensorFlowModel, Model, std::shared_ptr<TensorFlowModel>>(module, "TensorFlowModel")
      .def_static(
          "load",
          [](const std::string& library, const std::string& folder, const std::vector<std::string>& tags,
             const std::string& config, const std::string& run_options, const std::vector<std::string>& op_libraries) {
            std::string meta_graph, error;
            std::shared_ptr<TensorFlowModel> model;
            {
              py::gil_scoped_release release;
              model = TensorFlowModel::Load(library, folder, tags, config, run_options, op_libraries, &meta_graph, &error);
            }
            if (model == nullptr) throw std::runtime_error(error);
            return py::make_tuple(std::move(model), py::bytes(meta_graph));
          },
          py::arg("library"), py::arg("folder"), py::arg("tags"), py::arg("config"), py::arg("run_options"),
          py::arg("op_libraries"))
      .def("add_signature", [](TensorFlowModel& self, const std::string& name, const std::vector<SlotTuple>& inputs,
                               const std::vector<SlotTuple>& outputs, bool rows_apart) {
        corelane::Signature signature;
        signature.rows_apart = rows_apart;
        std::vector<std::string> input_names, output_names;
        signature.name = name;
        signature.inputs = MakeSlots(inputs, &input_names);
        signature.outputs = MakeSlots(outputs, &output_names);
        return self.AddSignature(std::move(signature), input_names, output_names);
      },
           py::arg("name"), py::arg("inputs"), py::arg("outputs"), py::kw_only(), py::arg("rows_apart"))
      .def("copy_strings", &TensorFlowModel::CopyStrings)
      .def("extend",
           [](TensorFlowModel& self, const std::string& graph_def, const std::vector<std::string>& given) {
             std::string error;
             if (!self.Extend(graph_def, given, &error)) throw std::runtime_error(error);
           },
           py::arg("graph_def"), py::arg("given"))
      .def("fetch",
           [](TensorFlowModel& self, const std::vector<std::string>& names) {
             std::string error;
             std::vector<corelane::FetchedTensor> tensors;
             {
               py::gil_scoped_release release;
               tensors = self.Fetch(names, &error);
             }
             if (tensors.size() != names.size()) throw std::runtime_error(error);
             std::vector<std::tuple<int, std::vector<int64_t>, py::object>> found;
             for (const auto& tensor : tensors) {
               py::object data = py::bytes(tensor.data);
               if (tensor.dtype == corelane::kString) {
                 py::list strings;
                 for (const std::string& text : tensor.strings) strings.append(py::bytes(text));
                 data = std::move(strings);
               }
               found.emplace_back(tensor.dtype, tensor.dims, std::move(data));
             }
             return found;
           })
      .def("ops", [](const TensorFlowModel& self) { return py::bytes(self.Ops()); });

  using corelane::OpenVinoModel;
  py::class_<OpenVinoModel, Model, std::shared_ptr<OpenVinoModel>>(module, "OpenVinoModel")
      .def_static(
          "load",
          [](const std::string& library, const std::string& file,
             const std::vector<std::pair<std::string, std::string>>& properties, const std::string& name,
             const std::vector<SlotTuple>& inputs, const std::vector<SlotTuple>& outputs,
             const std::vector<std::tuple<uint32_t, std::vector<int64_t>, std::vector<int64_t>, std::string>>& checks,
             const std::string& needs_elements, bool rows_apart) {
            corelane::Signature signature;
            signature.rows_apart = rows_apart;
            std::vector<std::string> unused;
            std::vector<corelane::RangeCheck> ranges;
            for (const auto& [input, lows, highs, reason] : checks) {
              if (lows.empty() || lows.size() != highs.size()) throw std::runtime_error("a check without its ends");
              ranges.push_back({input, lows, highs, reason});
            }
            signature.name = name;
            signature.inputs = MakeSlots(inputs, &unused);
            signature.outputs = MakeSlots(outputs, &unused);
            std::string error;
            std::shared_ptr<OpenVinoModel> model;
            {
              py::gil_scoped_release release;
              model = OpenVinoModel::Load(library, file, properties, std::move(signature), std::move(ranges),
                                          needs_elements, &error);
            }
            if (model == nullptr) throw std::runtime_error(error);
            return model;
          },
          py::arg("library"), py::arg("file"), py::arg("properties"), py::arg("name"), py::arg("inputs"),
          py::arg("outputs"), py::arg("checks") = py::list(), py::arg("needs_elements") = "", py::kw_only(),
          py::arg("rows_apart") = false);

  using corelane::FusedModel;
  using corelane::FusedPart;
  // (is a feature, index, dims: (-1, size) or (input, axis))
  using DenseInputTuple = std::tuple<bool, uint32_t, std::vector<std::pair<int64_t, int64_t>>>;
  py::class_<FusedPart>(module, "FusedPart")
      .def(py::init([](const std::string& name, const std::vector<SlotTuple>& inputs,
                       const std::vector<SlotTuple>& outputs, const py::dict& program, std::shared_ptr<Model> dense,
                       const std::vector<DenseInputTuple>& dense_inputs, size_t dense_signature, bool rows_apart,
                       bool finite_only) {
             FusedPart part;
             part.finite_only = finite_only;
             part.signature.rows_apart = rows_apart;
             if (dense_signature >= dense->signatures().size()) throw py::value_error("a signature is not there");
             part.dense_signature = dense_signature;
             std::vector<std::string> unused;
             part.signature.name = name;
             part.signature.inputs = MakeSlots(inputs, &unused);
             part.signature.outputs = MakeSlots(outputs, &unused);
             part.program = corelane::ProgramFrom(program);
             part.dense = std::move(dense);
             for (const auto& [is_feature, index, dims] : dense_inputs) {
               const size_t known = is_feature ? part.program->outputs.size() : part.signature.inputs.size();
               if (index >= known) throw py::value_error("a dense input is not there");
               for (const auto& [feed, axis] : dims) {
                 if (feed < 0) continue;
                 if (feed >= static_cast<int64_t>(part.signature.inputs.size()) ||
                     axis >= static_cast<int64_t>(part.signature.inputs[feed].dims.size()) || axis < 0) {
                   throw py::value_error("a size is of an axis that is not there");
                 }
               }
               part.inputs.push_back({is_feature, index, dims});
             }
             const int64_t fed = static_cast<int64_t>(part.signature.inputs.size());
             for (uint32_t feed : part.program->feeds) {
               if (feed >= fed) throw py::value_error("a fed input is not there");
             }
             for (const corelane::Instruction& one : part.program->instructions) {
               if (one.opcode != corelane::Opcode::kSparseRows) continue;
               for (int64_t feed : {one.number, one.other, one.offset}) {
                 if (feed < 0 || feed >= fed) throw py::value_error("a fed input is not there");
               }
             }
             return part;
           }),
           py::kw_only(), py::arg("name"), py::arg("inputs"), py::arg("outputs"), py::arg("program"), py::arg("dense"),
           py::arg("dense_inputs"), py::arg("dense_signature") = 0, py::arg("rows_apart") = false,
           py::arg("finite_only") = false);
  py::class_<FusedModel, Model, std::shared_ptr<FusedModel>>(module, "FusedModel")
      .def(py::init([](const std::vector<FusedPart>& parts) { return std::make_shared<FusedModel>(parts); }))
      .def("set_original", &FusedModel::SetOriginal);

  using Settings = corelane::PredictSettings;
  py::class_<Settings, std::shared_ptr<Settings>>(module, "PredictSettings")
      .def(py::init([](const std::string& model, int64_t version, bool tensor_content, uint64_t response_bytes_max,
                       uint64_t tensor_bytes_max) {
             return std::make_shared<Settings>(
                 Settings{{model, version, tensor_content, response_bytes_max}, tensor_bytes_max});
           }),
           py::kw_only(), py::arg("model"), py::arg("version"), py::arg("tensor_content"),
           py::arg("response_bytes_max"), py::arg("tensor_bytes_max"));

  using Session = corelane::PredictSession;
  py::native_enum<Session::Result>(module, "PredictResult", "enum.Enum")
      .value("RAN", Session::Result::kRan)
      .value("REFUSED", Session::Result::kRefused)
      .value("FAILED", Session::Result::kFailed)
      .finalize();
  py::class_<Session>(module, "PredictSession")
      .def(py::init([](std::shared_ptr<Model> model, std::shared_ptr<corelane::ModelSession> session,
                       std::shared_ptr<Settings> settings) {
        return std::make_unique<Session>(std::move(model), std::move(session), std::move(settings));
      }))
      .def(
          "predict",
          [](Session& self, const py::bytes& request, bool infer) {
            const auto wire = infer ? corelane::Wire::kOpenInference : corelane::Wire::kTensorFlow;
            const std::string_view view(request);
            std::string out;
            corelane::Code code = corelane::kOk;
            Session::Result result;
            {
              py::gil_scoped_release release;
              result = self.Predict(wire, view, &out, &code);
            }
            return py::make_tuple(result, py::bytes(out), static_cast<int>(code));
          },
          py::arg("request"), py::arg("infer") = false);
}
