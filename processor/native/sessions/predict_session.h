// From the bytes of PredictRequests to those of PredictResponses, on one session of a model.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engines/memory.h"
#include "engines/model.h"
#include "codec/infer_codec.h"
#include "codec/predict_codec.h"

namespace corelane {

// How all sessions of a version answer.
struct PredictSettings {
  ResponseStyle style;
  uint64_t tensor_bytes_max = 0;  // that the tensors of one request may take
};

// Thread safety: none; one session, one thread.
//
// Use: Decode each request, Run one of them, or several that RunsWith each other, then Write the response of each.
class PredictSession {
 public:
  // `session` is one of the model's, which this uses alone.
  PredictSession(std::shared_ptr<Model> model, std::shared_ptr<ModelSession> session,
                 std::shared_ptr<const PredictSettings> settings);

  // False if the request does not fit in any way: whoever knows the words for it should look at it. Requests of both
  // wires may share a run; each is answered on its own.
  bool Decode(Wire wire, std::string_view data, PredictRequest* request) const noexcept;

  // Whether two requests can share a run.
  static bool RunsWith(const PredictRequest& one, const PredictRequest& other);

  enum class Result {
    kRan,
    kRefused,  // values do not fit, the session was not made for them, or outputs cannot be sent or told apart; nothing is known of which request is at fault
    kFailed,   // the engine failed: `code` and `message` say how
  };
  Result Run(const std::vector<const PredictRequest*>& requests, Code* code, std::string* message) noexcept;

  // When the inputs of the last run were in place (monotonic).
  int64_t engine_started_ns() const { return engine_started_ns_; }

  // Of the last run, for its request number `index`: the bytes of the response, and writing them to `out`.
  uint64_t ResponseBytes(size_t index);
  void Write(size_t index, char* out);

  // Lets go of the last run. Before the requests' bytes go.
  void Reset();

  // One request from bytes to bytes. kRan: `out` is the response. kFailed: `out` is the message of the error `code`.
  Result Predict(Wire wire, std::string_view data, std::string* out, Code* code);

 private:
  bool SetInputs(const std::vector<const PredictRequest*>& requests);
  bool GetOutputs(const std::vector<const PredictRequest*>& requests);
  const std::vector<OutputTensor>& OutputsOf(size_t index);

  const std::shared_ptr<Model> model_;  // outlives the session below
  const std::shared_ptr<ModelSession> session_;
  const std::shared_ptr<const PredictSettings> settings_;
  std::vector<const PredictRequest*> requests_;  // of the last run
  std::vector<OutputTensor> outputs_, slices_;
  uint64_t bytes_ = 0;  // of the last run's tensors
  OutsizedRuns outsized_;
  int64_t engine_started_ns_ = 0;
  size_t sliced_ = SIZE_MAX;  // the request that slices_ are of
  std::vector<InputPart> parts_;
  std::vector<int64_t> dims_;
};

// The error of a response that is too large to send.
std::string TooLargeMessage(uint64_t bytes, uint64_t bytes_max);

}  // namespace corelane
