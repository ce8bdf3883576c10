// The channel: its memory, and a gateway's end.
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include "binding/binding.h"
#include "channel/gateway_end.h"

namespace py = pybind11;
using corelane::SharedChannel;

namespace {

// Below this a copy costs less than letting other threads run.
constexpr size_t kCopyUnderLock = 1 << 16;

py::bytes CopyOut(const corelane::CallResult& result) {
  const uint64_t size = result.payload_bytes();
  PyObject* made = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size));
  if (made == nullptr) throw py::error_already_set();
  auto bytes = py::reinterpret_steal<py::bytes>(made);
  char* to = PyBytes_AS_STRING(made);
  bool read;
  if (size < kCopyUnderLock) {
    read = result.Read(to);
  } else {
    py::gil_scoped_release release;
    read = result.Read(to);
  }
  if (!read) throw std::runtime_error("an answer cannot be read from its channel");
  return bytes;
}

std::shared_ptr<SharedChannel> OrThrow(std::unique_ptr<SharedChannel> channel, const std::string& error) {
  if (channel == nullptr) throw std::runtime_error(error);
  return std::shared_ptr<SharedChannel>(std::move(channel));
}

py::dict ToDict(const corelane::ChannelStatistics& statistics) {
  using py::literals::operator""_a;
  return py::dict("accepted"_a = statistics.accepted, "answered"_a = statistics.answered,
                  "failed"_a = statistics.failed, "expired"_a = statistics.expired,
                  "cancelled"_a = statistics.cancelled, "rejected"_a = statistics.rejected,
                  "queued"_a = statistics.queued, "running"_a = statistics.running,
                  "through_python"_a = statistics.through_python, "runs"_a = statistics.runs,
                  "decode_ns"_a = statistics.decode_ns, "engine_ns"_a = statistics.engine_ns,
                  "encode_ns"_a = statistics.encode_ns, "queue_us"_a = statistics.queue_us,
                  "run_us"_a = statistics.run_us, "total_us"_a = statistics.total_us);
}

py::tuple ToTuple(const corelane::HistogramCounts& counts) { return py::make_tuple(counts.us, counts.sum_ns); }

py::dict ToDict(const corelane::ChannelDetails& details) {
  using py::literals::operator""_a;
  py::list codes, latency, signatures;
  for (const auto& one : details.codes) codes.append(py::make_tuple(one.method, one.entry, one.code, one.count));
  for (const auto& one : details.latency) latency.append(py::make_tuple(one.method, one.entry, ToTuple(one.counts)));
  for (const auto& one : details.signatures) {
    const py::object name = py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(one.name.data(), static_cast<Py_ssize_t>(one.name.size()), "replace"));
    signatures.append(py::make_tuple(name, one.answered, one.failed, ToTuple(one.run)));
  }
  return py::dict("assigned"_a = details.assigned, "codes"_a = codes, "latency"_a = latency,
                  "signatures"_a = signatures, "queue"_a = ToTuple(details.queue), "run"_a = ToTuple(details.run),
                  "total"_a = ToTuple(details.total), "gate"_a = ToTuple(details.gate));
}

corelane::CallKind KindOf(uint32_t method, uint32_t entry, uint32_t assignment) {
  if (method >= corelane::kMethods || entry >= corelane::kEntries || assignment >= corelane::kAssignments) {
    throw std::invalid_argument("there is no such kind of call");
  }
  return {method, static_cast<corelane::Entry>(entry), static_cast<corelane::Assignment>(assignment)};
}

}  // namespace

void BindChannel(py::module_& module) {
  module.attr("OWNER_MAX") = corelane::kOwnerMax;

  py::class_<corelane::Cancellation>(module, "Cancellation")
      .def(py::init<>())
      .def("cancel", &corelane::Cancellation::Cancel)
      .def_property_readonly("cancelled", &corelane::Cancellation::cancelled);

  py::native_enum<corelane::CallEnd>(module, "CallEnd", "enum.Enum")
      .value("ANSWERED", corelane::CallEnd::kAnswered)
      .value("FULL", corelane::CallEnd::kFull)
      .value("TOO_LARGE", corelane::CallEnd::kTooLarge)
      .value("NO_MEMORY", corelane::CallEnd::kNoMemory)
      .value("LOST", corelane::CallEnd::kLost)
      .value("QUEUE_TIMEOUT", corelane::CallEnd::kQueueTimeout)
      .value("DEADLINE", corelane::CallEnd::kDeadline)
      .value("CANCELLED", corelane::CallEnd::kCancelled)
      .finalize();

  py::class_<SharedChannel, std::shared_ptr<SharedChannel>>(module, "SharedChannel")
      .def_static(
          "create",
          [](uint64_t instance, uint32_t slots, uint64_t message_bytes_max, int64_t queue_timeout_ns) {
            std::string error;
            auto channel = SharedChannel::Create({instance, slots, message_bytes_max, queue_timeout_ns}, &error);
            return OrThrow(std::move(channel), error);
          },
          py::kw_only(), py::arg("instance"), py::arg("slots"), py::arg("message_bytes_max"),
          py::arg("queue_timeout_ns"))
      .def_static(
          "map",
          [](int descriptor, uint64_t instance, bool with_payload) {
            std::string error;
            auto channel = SharedChannel::Map(descriptor, instance, with_payload, &error);
            return OrThrow(std::move(channel), error);
          },
          py::arg("descriptor"), py::arg("instance"), py::arg("with_payload") = true)
      .def_property_readonly("descriptor", &SharedChannel::descriptor)
      .def("reclaim", &SharedChannel::Reclaim)
      .def("mark_dead", &SharedChannel::MarkDead)
      .def("close_if_idle", &SharedChannel::CloseIfIdle)
      .def("statistics", [](const SharedChannel& self) { return ToDict(self.Statistics()); })
      .def("details", [](const SharedChannel& self) { return ToDict(self.Details()); })
      .def("check_integrity", &SharedChannel::CheckIntegrity)
      .def(
          "call",
          [](const SharedChannel& self, uint32_t owner, uint32_t method, const py::bytes& request, int64_t deadline_ns,
             corelane::Cancellation& cancellation, uint32_t entry, uint32_t assignment) {
            const corelane::CallKind kind = KindOf(method, entry, assignment);
            const std::string_view view(request);
            py::gil_scoped_release release;
            const corelane::CallResult result = corelane::Call(self, owner, kind, view, deadline_ns, &cancellation);
            py::gil_scoped_acquire acquire;
            return py::make_tuple(result.end(), result.code(), CopyOut(result));
          },
          py::arg("owner"), py::arg("method"), py::arg("request"), py::arg("deadline_ns"), py::arg("cancellation"),
          py::arg("entry") = 0, py::arg("assignment") = 0)
      .def("count_refused", [](const SharedChannel& self, uint32_t method, uint32_t entry, uint32_t assignment) {
        corelane::CountRefused(self, KindOf(method, entry, assignment));
      });
}
