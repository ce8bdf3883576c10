// The table of contents of corelane.scheduler._native.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "simulation.h"

namespace py = pybind11;
using corelane::Arrivals;
using corelane::Outcome;

PYBIND11_MODULE(_native, module) {
  module.doc() = "Discrete-event simulation of requests on cores.";

  py::class_<Arrivals>(module, "Arrivals")
      .def(py::init([](double per_ms, std::vector<std::pair<double, double>> service, double slo_ms, size_t waiting_max,
                       double waiting_ms_max, double weight) {
             return Arrivals{per_ms, std::move(service), slo_ms, waiting_max, waiting_ms_max, weight};
           }),
           py::kw_only(), py::arg("per_ms"), py::arg("service"), py::arg("slo_ms"), py::arg("waiting_max"),
           py::arg("waiting_ms_max"), py::arg("weight"));

  py::class_<Outcome>(module, "Outcome")
      .def_readonly("arrived", &Outcome::arrived)
      .def_readonly("answered", &Outcome::answered)
      .def_readonly("in_time", &Outcome::in_time)
      .def_readonly("refused", &Outcome::refused)
      .def_readonly("mean_ms", &Outcome::mean_ms)
      .def_readonly("p50_ms", &Outcome::p50_ms)
      .def_readonly("p99_ms", &Outcome::p99_ms);

  module.def(
      "simulate_sessions",
      [](const std::vector<Arrivals>& versions, int cores, double warm_up_ms, double ms, uint64_t seed) {
        return corelane::SimulateSessions(versions, cores, {warm_up_ms, ms, seed});
      },
      py::call_guard<py::gil_scoped_release>(), py::kw_only(), py::arg("versions"), py::arg("cores"),
      py::arg("warm_up_ms"), py::arg("ms"), py::arg("seed"));
  module.def(
      "simulate_slicing",
      [](const std::vector<Arrivals>& versions, int cores, double slice_ms, double switch_ms, double warm_up_ms, double ms,
         uint64_t seed) {
        return corelane::SimulateSlicing(versions, cores, slice_ms, switch_ms, {warm_up_ms, ms, seed});
      },
      py::call_guard<py::gil_scoped_release>(), py::kw_only(), py::arg("versions"), py::arg("cores"),
      py::arg("slice_ms"), py::arg("switch_ms"), py::arg("warm_up_ms"), py::arg("ms"), py::arg("seed"));
}
