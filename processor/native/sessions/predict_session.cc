#include "sessions/predict_session.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "channel/futex.h"

namespace corelane {
namespace {

// What a tensor takes, roughly, of strings.
uint64_t BytesOf(int32_t dtype, int64_t count) {
  constexpr uint64_t kString = 32;
  const size_t element = ElementBytes(dtype);
  return static_cast<uint64_t>(count) * (element == 0 ? kString : element);
}

constexpr char kNoMemory[] = "there is no memory for this run: send less at once, or raise memory_bytes_max";

}  // namespace

PredictSession::PredictSession(std::shared_ptr<Model> model, std::shared_ptr<ModelSession> session,
                               std::shared_ptr<const PredictSettings> settings)
    : model_(std::move(model)), session_(std::move(session)), settings_(std::move(settings)) {}

bool PredictSession::Decode(Wire wire, std::string_view data, PredictRequest* request) const noexcept {
  try {
    if (wire == Wire::kOpenInference) {
      return DecodeInfer(model_->signatures(), data, settings_->tensor_bytes_max, request);
    }
    return request->Decode(model_->signatures(), data, settings_->tensor_bytes_max);
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool PredictSession::RunsWith(const PredictRequest& one, const PredictRequest& other) {
  if (one.signature != other.signature || one.outputs != other.outputs || one.rows < 1 || other.rows < 1) return false;
  for (size_t index = 0; index < one.inputs.size(); ++index) {
    const std::vector<int64_t>&a = one.inputs[index].dims, &b = other.inputs[index].dims;
    if (a.size() != b.size() || !std::equal(a.begin() + 1, a.end(), b.begin() + 1)) return false;
  }
  return true;
}

PredictSession::Result PredictSession::Run(const std::vector<const PredictRequest*>& requests, Code* code,
                                           std::string* message) noexcept {
  try {
    requests_ = requests;
    sliced_ = SIZE_MAX;
    bytes_ = 0;
    const bool fits = SetInputs(requests);
    engine_started_ns_ = MonotonicNs();
    if (!fits) return Result::kRefused;
    *code = session_->Run(*requests[0]->signature, requests[0]->outputs, message);
    if (*code == kNotCovered) return Result::kRefused;
    if (*code != kOk) return Result::kFailed;
    return GetOutputs(requests) ? Result::kRan : Result::kRefused;
  } catch (const std::bad_alloc&) {
    *code = kResourceExhausted;
    *message = kNoMemory;
    return Result::kFailed;
  } catch (const std::exception& error) {
    *code = kInternal;
    *message = error.what();
    return Result::kFailed;
  }
}

bool PredictSession::SetInputs(const std::vector<const PredictRequest*>& requests) {
  const Signature& signature = *requests[0]->signature;
  for (uint32_t index = 0; index < signature.inputs.size(); ++index) {
    parts_.clear();
    dims_ = requests[0]->inputs[index].dims;
    if (requests.size() > 1) dims_[0] = 0;
    for (const PredictRequest* request : requests) {
      parts_.push_back({&request->inputs[index], request->counts[index]});
      bytes_ += BytesOf(signature.inputs[index].dtype, request->counts[index]);
      if (requests.size() > 1) dims_[0] += request->rows;
    }
    if (!session_->SetInput(signature, index, dims_, parts_)) return false;
  }
  return true;
}

bool PredictSession::GetOutputs(const std::vector<const PredictRequest*>& requests) {
  int64_t rows = 0;
  for (const PredictRequest* request : requests) rows += request->rows;
  outputs_.resize(requests[0]->outputs.size());
  for (size_t position = 0; position < outputs_.size(); ++position) {
    if (!session_->Output(position, &outputs_[position])) return false;
    bytes_ += BytesOf(outputs_[position].dtype, outputs_[position].count);
    const std::vector<int64_t>& dims = outputs_[position].dims;
    if (requests.size() > 1 && (dims.empty() || dims[0] != rows)) return false;
  }
  return true;
}

const std::vector<OutputTensor>& PredictSession::OutputsOf(size_t index) {
  if (requests_.size() == 1) return outputs_;
  if (sliced_ != index) {
    int64_t begin = 0;
    for (size_t before = 0; before < index; ++before) begin += requests_[before]->rows;
    slices_.resize(outputs_.size());
    for (size_t position = 0; position < outputs_.size(); ++position) {
      outputs_[position].Slice(begin, begin + requests_[index]->rows, &slices_[position]);
    }
    sliced_ = index;
  }
  return slices_;
}

uint64_t PredictSession::ResponseBytes(size_t index) {
  const PredictRequest& request = *requests_[index];
  const std::vector<OutputTensor>& outputs = OutputsOf(index);
  if (request.wire == Wire::kOpenInference) return InferResponseBytes(request, outputs, settings_->style);
  return corelane::ResponseBytes(request, outputs, settings_->style);
}

void PredictSession::Write(size_t index, char* out) {
  const PredictRequest& request = *requests_[index];
  const std::vector<OutputTensor>& outputs = OutputsOf(index);
  if (request.wire == Wire::kOpenInference) {
    WriteInferResponse(request, outputs, settings_->style, out);
  } else {
    WriteResponse(request, outputs, settings_->style, out);
  }
}

void PredictSession::Reset() {
  session_->Reset();
  requests_.clear();
  if (!outsized_.Ran(bytes_)) return;
  outputs_ = {};
  slices_ = {};
  session_->GiveBack();
  GiveBackHeap();
}

PredictSession::Result PredictSession::Predict(Wire wire, std::string_view data, std::string* out, Code* code) {
  PredictRequest request;
  if (!Decode(wire, data, &request)) return Result::kRefused;
  Result result = Run({&request}, code, out);
  if (result == Result::kRan) {
    const uint64_t bytes = ResponseBytes(0);
    if (bytes > settings_->style.bytes_max) {
      *code = kInvalidArgument;
      *out = TooLargeMessage(bytes, settings_->style.bytes_max);
      result = Result::kFailed;
    } else {
      out->resize(bytes);
      Write(0, out->data());
    }
  }
  Reset();
  return result;
}

std::string TooLargeMessage(uint64_t bytes, uint64_t bytes_max) {
  return "the response of " + std::to_string(bytes) + " bytes is over listen.message_bytes_max (" +
         std::to_string(bytes_max) + ")";
}

}  // namespace corelane
