#include "tensorflow_model.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "field_reader.h"
#include "model_spec.h"
#include "tensor_codec.h"

namespace corelane {
namespace {

constexpr char kDefaultSignature[] = "serving_default";
// RunOptions{inter_op_thread_pool: -1}: the caller's thread runs the whole graph.
constexpr char kCallersThread[] = "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";

// Owns the tensors of one call.
class Tensors {
 public:
  Tensors(const tf::Api* api, size_t count) : list(count, nullptr), api_(api) {}
  ~Tensors() {
    for (tf::Tensor* tensor : list) {
      if (tensor != nullptr) api_->DeleteTensor(tensor);
    }
  }
  Tensors(const Tensors&) = delete;
  Tensors& operator=(const Tensors&) = delete;

  std::vector<tf::Tensor*> list;

 private:
  const tf::Api* api_;
};

class Status {
 public:
  explicit Status(const tf::Api* api) : api_(api), status_(api->NewStatus()) {}
  ~Status() { api_->DeleteStatus(status_); }
  Status(const Status&) = delete;
  Status& operator=(const Status&) = delete;

  tf::Status* get() const { return status_; }
  int code() const { return api_->GetCode(status_); }
  std::string message() const { return api_->Message(status_); }

 private:
  const tf::Api* api_;
  tf::Status* status_;
};

bool FindOutput(const tf::Api* api, tf::Graph* graph, const std::string& name, tf::Output* output) {
  const size_t colon = name.rfind(':');
  output->index = colon == std::string::npos ? 0 : std::atoi(name.c_str() + colon + 1);
  output->operation = api->GraphOperationByName(graph, name.substr(0, colon).c_str());
  return output->operation != nullptr;
}

// One entry of PredictRequest.inputs, key and value in any order. False too for a value in two parts, or with a
// field that no entry has: parsers make different things of these.
bool ReadEntry(std::string_view data, std::string_view* key, TensorMessage* tensor) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  bool has_value = false;
  *key = {};
  tensor->Clear();
  while (!reader.AtEnd()) {
    std::string_view bytes;
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (field == 1 && wire_type == kBytes) {
      if (!reader.ReadBytes(key)) return false;
    } else if (field == 2 && wire_type == kBytes) {
      if (has_value || !reader.ReadBytes(&bytes) || !tensor->Merge(bytes)) return false;
      has_value = true;
    } else {
      return false;
    }
  }
  return true;
}

bool Fits(const TensorSlot& slot, const TensorMessage& tensor) {
  if (tensor.dtype != slot.dtype || tensor.unknown_rank) return false;
  if (!slot.rank_known) return true;
  if (tensor.dims.size() != slot.dims.size()) return false;
  for (size_t index = 0; index < slot.dims.size(); ++index) {
    if (slot.dims[index] != -1 && slot.dims[index] != tensor.dims[index]) return false;
  }
  return true;
}

}  // namespace

std::unique_ptr<TensorFlowModel> TensorFlowModel::Load(const std::string& library, const std::string& folder,
                                                       const std::string& config,
                                                       const std::vector<std::string>& op_libraries,
                                                       std::string* meta_graph, std::string* error) {
  const tf::Api* api = tf::Api::Open(library, error);
  if (api == nullptr) return nullptr;
  Status status(api);
  for (const std::string& path : op_libraries) {
    api->LoadLibrary(path.c_str(), status.get());
    if (status.code() != tf::kOk) {
      *error = "op library " + path + " cannot be loaded: " + status.message();
      return nullptr;
    }
  }
  tf::SessionOptions* options = api->NewSessionOptions();
  api->SetConfig(options, config.data(), config.size(), status.get());
  std::unique_ptr<TensorFlowModel> model(new TensorFlowModel());
  model->api_ = api;
  model->graph_ = api->NewGraph();
  model->run_options_ = api->NewBufferFromString(kCallersThread, sizeof(kCallersThread) - 1);
  if (status.code() == tf::kOk) {
    const char* tags[] = {"serve"};
    tf::Buffer definition{nullptr, 0, nullptr};
    model->session_ = api->LoadSessionFromSavedModel(options, nullptr, folder.c_str(), tags, 1, model->graph_,
                                                     &definition, status.get());
    if (definition.data != nullptr) {
      meta_graph->assign(static_cast<const char*>(definition.data), definition.length);
      if (definition.deallocator != nullptr) {
        definition.deallocator(const_cast<void*>(definition.data), definition.length);
      }
    }
  }
  api->DeleteSessionOptions(options);
  if (status.code() != tf::kOk) {
    *error = status.message();
    return nullptr;
  }
  return model;
}

TensorFlowModel::~TensorFlowModel() {
  if (session_ != nullptr) {
    Status status(api_);
    api_->CloseSession(session_, status.get());
    api_->DeleteSession(session_, status.get());
  }
  api_->DeleteBuffer(run_options_);
  api_->DeleteGraph(graph_);
}

bool TensorFlowModel::AddSignature(ModelSignature signature, const std::vector<std::string>& input_names,
                                   const std::vector<std::string>& output_names) {
  auto owned = std::make_unique<ModelSignature>(std::move(signature));
  for (size_t index = 0; index < owned->inputs.size(); ++index) {
    if (!FindOutput(api_, graph_, input_names[index], &owned->inputs[index].output)) return false;
    owned->input_index[owned->inputs[index].alias] = index;
  }
  for (size_t index = 0; index < owned->outputs.size(); ++index) {
    if (!FindOutput(api_, graph_, output_names[index], &owned->outputs[index].output)) return false;
  }
  signatures_.push_back(std::move(owned));
  return true;
}

void TensorFlowModel::SetIdentity(std::string model, int64_t version, uint64_t tensor_bytes_max,
                                  uint64_t response_bytes_max) {
  model_ = std::move(model);
  version_ = version;
  tensor_bytes_max_ = tensor_bytes_max;
  response_bytes_max_ = response_bytes_max;
}

TensorFlowModel::Result TensorFlowModel::Predict(std::string_view request, std::string* out, int* code) const {
  ModelSpec spec;
  if (PeekModelSpec(request, 0, &spec) != PeekResult::kOk) return Result::kRefused;
  const std::string& wanted = spec.signature_name.empty() ? kDefaultSignature : spec.signature_name;
  const auto found = std::find_if(signatures_.begin(), signatures_.end(),
                                  [&](const auto& signature) { return signature->name == wanted; });
  if (found == signatures_.end()) return Result::kRefused;
  const ModelSignature& signature = **found;

  Tensors inputs(api_, signature.inputs.size());
  std::vector<const TensorSlot*> outputs;
  uint64_t budget = tensor_bytes_max_;
  TensorMessage tensor;
  FieldReader reader(request);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    std::string_view bytes;
    if (!reader.ReadTag(&field, &wire_type)) return Result::kRefused;
    if ((field != 2 && field != 3) || wire_type != kBytes) {
      if (!reader.Skip(wire_type)) return Result::kRefused;
      continue;
    }
    if (!reader.ReadBytes(&bytes)) return Result::kRefused;
    if (field == 3) {
      const auto slot = std::find_if(signature.outputs.begin(), signature.outputs.end(),
                                     [&](const TensorSlot& one) { return one.alias == bytes; });
      if (slot == signature.outputs.end()) return Result::kRefused;
      if (std::find(outputs.begin(), outputs.end(), &*slot) != outputs.end()) return Result::kRefused;
      outputs.push_back(&*slot);
      continue;
    }
    std::string_view alias;
    if (!ReadEntry(bytes, &alias, &tensor)) return Result::kRefused;
    const auto slot = signature.input_index.find(alias);
    if (slot == signature.input_index.end() || !Fits(signature.inputs[slot->second], tensor)) return Result::kRefused;
    // Of a repeated key the last one counts; two of them in one request are somebody's test, not worth more.
    if (inputs.list[slot->second] != nullptr) return Result::kRefused;
    inputs.list[slot->second] = MakeTensor(signature.inputs[slot->second], tensor, &budget);
    if (inputs.list[slot->second] == nullptr) return Result::kRefused;
  }
  for (const tf::Tensor* input : inputs.list) {
    if (input == nullptr) return Result::kRefused;  // missing; it may have a default
  }
  if (outputs.empty()) {
    for (const TensorSlot& slot : signature.outputs) outputs.push_back(&slot);
  }
  return Run(signature, inputs.list, outputs, out, code);
}

tf::Tensor* TensorFlowModel::MakeTensor(const TensorSlot& slot, const TensorMessage& message, uint64_t* budget) const {
  int64_t count;
  if (message.dims.size() > 64 || !message.CountElements(*budget, &count)) return nullptr;
  const size_t element = slot.dtype == kString ? sizeof(tf::StringView) : ElementBytes(slot.dtype);
  static_assert(sizeof(tf::StringView) == kStringBytes);
  if (element == 0) return nullptr;
  *budget -= static_cast<uint64_t>(count) * element;
  const size_t size = static_cast<size_t>(count) * element;
  tf::Tensor* tensor =
      api_->AllocateTensor(slot.dtype, message.dims.data(), static_cast<int>(message.dims.size()), size);
  if (tensor == nullptr) return nullptr;
  void* data = api_->TensorData(tensor);
  bool fine;
  if (slot.dtype == kString) {
    auto* views = static_cast<tf::StringView*>(data);
    std::memset(data, 0, size);  // empty strings, which TensorFlow can delete if the fill is refused half way
    fine = FillStrings(message, count, [views](int64_t index, std::string_view text) {
      views[index] = {text.size() << 2 | tf::kStringIsView, text.data(), 0};
    });
  } else {
    fine = FillNumbers(message, count, data);
  }
  if (fine) return tensor;
  api_->DeleteTensor(tensor);
  return nullptr;
}

TensorFlowModel::Result TensorFlowModel::Run(const ModelSignature& signature, const std::vector<tf::Tensor*>& inputs,
                                             const std::vector<const TensorSlot*>& outputs, std::string* out,
                                             int* code) const {
  std::vector<tf::Output> feeds, fetches;
  feeds.reserve(inputs.size());
  for (const TensorSlot& slot : signature.inputs) feeds.push_back(slot.output);
  for (const TensorSlot* slot : outputs) fetches.push_back(slot->output);
  Tensors results(api_, outputs.size());
  Status status(api_);
  api_->SessionRun(session_, run_options_, feeds.data(), inputs.data(), static_cast<int>(feeds.size()), fetches.data(),
                   results.list.data(), static_cast<int>(fetches.size()), nullptr, 0, nullptr, status.get());
  *code = status.code();
  if (*code != tf::kOk) {
    *out = status.message();
    return Result::kFailed;
  }
  return Encode(signature, outputs, results.list, out) ? Result::kAnswered : Result::kRefused;
}

bool TensorFlowModel::Encode(const ModelSignature& signature, const std::vector<const TensorSlot*>& outputs,
                             const std::vector<tf::Tensor*>& tensors, std::string* out) const {
  out->clear();
  MessageWriter writer(out);
  std::vector<int64_t> dims;
  std::vector<std::string_view> strings;
  std::string body, entry;
  for (size_t index = 0; index < outputs.size(); ++index) {
    const tf::Tensor* tensor = tensors[index];
    const int32_t dtype = api_->TensorType(tensor);
    dims.clear();
    int64_t count = 1;
    for (int axis = 0; axis < api_->NumDims(tensor); ++axis) {
      dims.push_back(api_->Dim(tensor, axis));
      count *= dims.back();
    }
    const char* data = static_cast<const char*>(api_->TensorData(tensor));
    body.clear();
    if (dtype == kString) {
      strings.clear();
      for (int64_t item = 0; item < count; ++item) {
        const void* text = data + item * sizeof(tf::StringView);
        strings.emplace_back(api_->StringGetDataPointer(text), api_->StringGetSize(text));
      }
      AppendStrings(dims, strings, &body);
    } else if (ElementBytes(dtype) != 0) {
      AppendNumbers(dtype, dims, data, count, &body);
    } else {
      return false;
    }
    entry.clear();
    MessageWriter entry_writer(&entry);
    entry_writer.BytesField(1, outputs[index]->alias);
    entry_writer.BytesField(2, body);
    writer.BytesField(1, entry);
  }
  std::string version, spec;
  MessageWriter(&version).VarintField(1, static_cast<uint64_t>(version_));
  MessageWriter spec_writer(&spec);
  spec_writer.BytesField(1, model_);
  spec_writer.BytesField(2, version);
  spec_writer.BytesField(3, signature.name);
  writer.BytesField(2, spec);
  return out->size() <= response_bytes_max_;
}

}  // namespace corelane
