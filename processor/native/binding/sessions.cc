// A worker's sessions.
#include <pybind11/stl.h>

#include "binding/binding.h"
#include "sessions/predict_handler.h"
#include "sessions/session_group.h"

namespace py = pybind11;
using corelane::PredictHandler;
using corelane::PoolGate;
using corelane::SessionGroup;

namespace {

// A Python function for threads that are not Python's: takes the lock for each call, and to be forgotten.
corelane::Fallback MakeFallback(py::function function) {
  std::shared_ptr<py::function> shared(new py::function(std::move(function)), [](py::function* last) {
    py::gil_scoped_acquire acquire;
    delete last;
  });
  return [shared](uint32_t session, uint32_t method, std::string_view request) {
    py::gil_scoped_acquire acquire;
    corelane::FallbackAnswer answer;
    try {
      const py::tuple found = (*shared)(session, method, py::bytes(request.data(), request.size()));
      answer.payload = found[1].cast<std::string>();
      answer.code = found[0].cast<uint32_t>();
      if (!found[2].is_none()) answer.signature = found[2].cast<uint32_t>();
    } catch (const std::exception& error) {
      answer.payload = error.what();
      answer.code = corelane::kInternal;
    }
    return answer;
  };
}

}  // namespace

void BindSessions(py::module_& module) {
  py::class_<PredictHandler, std::shared_ptr<PredictHandler>>(module, "PredictHandler")
      .def(py::init([](std::shared_ptr<corelane::SharedChannel> channel, std::shared_ptr<corelane::Model> model,
                       const std::vector<std::string>& signatures,
                       std::shared_ptr<corelane::PredictSettings> settings, int64_t batch_rows_max,
                       int64_t batch_wait_ns, py::function fallback) {
             return std::make_shared<PredictHandler>(std::move(channel), std::move(model), signatures,
                                                     std::move(settings),
                                                     corelane::Batching{batch_rows_max, batch_wait_ns},
                                                     MakeFallback(std::move(fallback)));
           }),
           py::kw_only(), py::arg("channel"), py::arg("model"), py::arg("signatures"), py::arg("settings"), py::arg("batch_rows_max"),
           py::arg("batch_wait_ns"), py::arg("fallback"))
      .def("add_session", &PredictHandler::AddSession);

  py::class_<PoolGate, std::shared_ptr<PoolGate>>(module, "PoolGate")
      .def_static("create",
                  [] {
                    auto gate = PoolGate::Create();
                    if (gate == nullptr) throw std::runtime_error("there is no memory for the pool's gate");
                    return gate;
                  })
      .def_static("map",
                  [](int descriptor) {
                    auto gate = PoolGate::Map(descriptor);
                    if (gate == nullptr) throw std::runtime_error("the descriptor is no pool's gate");
                    return gate;
                  })
      .def_property_readonly("descriptor", &PoolGate::descriptor)
      .def("add",
           [](PoolGate& self, double weight) {
             const int number = self.Add(weight);
             if (number < 0) throw std::runtime_error("the pool has too many members");
             return number;
           })
      .def("remove", &PoolGate::Remove)
      .def("set_permits", &PoolGate::SetPermits)
      .def("held", &PoolGate::Held)
      .def("waiting", &PoolGate::Waiting)
      .def_property_readonly("taken", &PoolGate::Taken);

  py::class_<SessionGroup, std::shared_ptr<SessionGroup>>(module, "SessionGroup")
      .def(py::init([](std::shared_ptr<corelane::SharedChannel> channel, std::shared_ptr<PredictHandler> handler,
                       uint32_t capacity, bool round_robin, std::vector<int> allowed, uint32_t cores_max,
                       std::shared_ptr<PoolGate> gate, uint32_t member) {
             // A session may wait for Python's lock while it is joined.
             return std::shared_ptr<SessionGroup>(
                 new SessionGroup(std::move(channel), std::move(handler), capacity, round_robin, std::move(allowed),
                                  cores_max, std::move(gate), member),
                 [](SessionGroup* last) {
                   py::gil_scoped_release release;
                   delete last;
                 });
           }),
           py::kw_only(), py::arg("channel"), py::arg("handler"), py::arg("capacity"), py::arg("round_robin"),
           py::arg("allowed"), py::arg("cores_max"), py::arg("gate") = nullptr, py::arg("member") = 0)
      .def("place",
           [](SessionGroup& self, const std::vector<std::pair<std::vector<int>, bool>>& sessions, bool shares) {
             std::vector<corelane::SessionPlacement> placements;
             for (const auto& [cpus, paused] : sessions) placements.push_back({cpus, paused});
             py::gil_scoped_release release;
             return self.Place(placements, shares);
           },
           py::arg("sessions"), py::arg("shares") = false)
      .def("sessions",
           [](const SessionGroup& self) {
             py::list reports;
             for (const corelane::SessionReport& report : self.Sessions()) {
               reports.append(py::make_tuple(report.thread, report.placement.cpus, report.placement.paused,
                                             report.cpu_ns));
             }
             return reports;
           })
      .def("longest_run_ns", &SessionGroup::LongestRunNs)
      .def("stop", &SessionGroup::Stop, py::call_guard<py::gil_scoped_release>());

  module.def("histogram_bounds_us", [] {
    const double* bounds = corelane::HistogramBoundsUs();
    return std::vector<double>(bounds, bounds + corelane::kHistogramBounds);
  });
}
