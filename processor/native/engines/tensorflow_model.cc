#include "engines/tensorflow_model.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace corelane {
namespace {

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

// An error without the graph's history, which TensorFlow appends to every message.
std::string FirstLines(const std::string& message) {
  size_t end = message.size();
  for (const char* history : {"\n\nOriginal stack trace", "\n\nErrors may have originated"}) {
    end = std::min(end, message.find(history));
  }
  while (end > 0 && std::isspace(static_cast<unsigned char>(message[end - 1]))) --end;
  return message.substr(0, std::min<size_t>(end, 1000));
}

// Whether the code says something of the request, in gRPC's codes: whoever called should have it. The others are ours.
bool IsOfRequest(int code) {
  switch (code) {
    case tf::kInvalidArgument:
    case tf::kNotFound:
    case tf::kPermissionDenied:
    case tf::kResourceExhausted:
    case tf::kFailedPrecondition:
    case tf::kOutOfRange:
    case tf::kUnimplemented:
    case tf::kUnavailable:
      return true;
    default:
      return false;
  }
}

// Memory that one input of one session lies in, request after request, and the tensor over it: to make a tensor costs more
// than to fill one, so it is kept while requests have the same shape.
//
// TensorFlow may keep an input beyond its run (in a variable, say). Then tensor and memory are left to it, and the next
// request gets others: what a model keeps is never written again.
//
// Thread safety: none, but for what TensorFlow does: it may let go of the memory on any thread.
class InputTensor {
 public:
  explicit InputTensor(const tf::Api* api) : api_(api) {}
  ~InputTensor() { Drop(); }
  InputTensor(const InputTensor&) = delete;
  InputTensor& operator=(const InputTensor&) = delete;

  // A tensor of this shape, to be written to `data`. std::bad_alloc if there is no memory.
  tf::Tensor* Make(int32_t dtype, const std::vector<int64_t>& dims, size_t size, char** data) {
    if (tensor_ == nullptr || dims_ != dims) {
      Drop();
      tensor_ = api_->AllocateTensor(dtype, dims.data(), static_cast<int>(dims.size()), size);
      data_ = tensor_ == nullptr ? nullptr : static_cast<char*>(api_->TensorData(tensor_));
      if (tensor_ == nullptr || (data_ == nullptr && size != 0)) {
        Drop();
        throw std::bad_alloc();
      }
      dims_ = dims;
      size_ = size;
      // Empty strings, which TensorFlow can delete if they are never filled.
      if (dtype == kString) std::memset(data_, 0, size);
    }
    *data = data_;
    return tensor_;
  }

  // After a run, when its outputs are gone. `owns_strings`: its elements have memory of their own.
  void Reset(bool owns_strings) {
    constexpr size_t kKeepBytes = 1 << 20;
    if (tensor_ == nullptr) return;
    if (owns_strings || size_ > kKeepBytes || api_->TensorMaybeMove(tensor_) == nullptr) Drop();
  }

 private:
  void Drop() {
    if (tensor_ != nullptr) api_->DeleteTensor(tensor_);
    tensor_ = nullptr;
  }

  const tf::Api* const api_;
  tf::Tensor* tensor_ = nullptr;
  char* data_ = nullptr;  // the tensor's
  std::vector<int64_t> dims_;
  size_t size_ = 0;
};

}  // namespace

class TensorFlowSession : public ModelSession {
 public:
  explicit TensorFlowSession(const TensorFlowModel* model) : model_(model), api_(model->api_), status_(model->api_) {}
  ~TensorFlowSession() override { Reset(); }

  bool SetInput(const Signature& signature, uint32_t index, const std::vector<int64_t>& dims,
                const std::vector<InputPart>& parts) override {
    Begin(signature);
    const int32_t dtype = signature.inputs[index].dtype;
    static_assert(sizeof(tf::StringView) == kStringBytes);
    const size_t element = dtype == kString ? sizeof(tf::StringView) : ElementBytes(dtype);
    size_t size = 0;
    for (const InputPart& part : parts) size += static_cast<size_t>(part.count) * element;
    char* data;
    inputs_[index] = kept_[index]->Make(dtype, dims, size, &data);
    for (const InputPart& part : parts) {
      if (!Fill(dtype, part, data)) return false;
      data += static_cast<size_t>(part.count) * element;
    }
    return true;
  }

  Code Run(const Signature& signature, const std::vector<uint32_t>& outputs, std::string* message) override {
    Begin(signature);  // which may have no inputs
    const TensorFlowModel::Endpoints& endpoints = model_->EndpointsOf(signature);
    fetches_.clear();
    answers_.clear();
    for (uint32_t output : outputs) {
      const int64_t input = endpoints.passed[output];
      answers_.push_back({input >= 0, input >= 0 ? static_cast<size_t>(input) : fetches_.size()});
      if (input < 0) fetches_.push_back(endpoints.outputs[output]);
    }
    outputs_.assign(fetches_.size(), nullptr);
    if (fetches_.empty()) return kOk;
    api_->SessionRun(model_->session_, model_->run_options_, endpoints.inputs.data(), inputs_.data(),
                     static_cast<int>(inputs_.size()), fetches_.data(), outputs_.data(),
                     static_cast<int>(fetches_.size()), nullptr, 0, nullptr, status_.get());
    const int code = status_.code();
    if (code == tf::kOk) return kOk;
    *message = FirstLines(status_.message());
    if (IsOfRequest(code)) return static_cast<Code>(code);
    *message = "TensorFlow: " + *message;
    return kInternal;
  }

  bool Output(size_t position, OutputTensor* output) override {
    const Answer& answer = answers_[position];
    const tf::Tensor* tensor = answer.is_input ? inputs_[answer.index] : outputs_[answer.index];
    output->dtype = api_->TensorType(tensor);
    output->dims.clear();
    output->count = 1;
    for (int axis = 0; axis < api_->NumDims(tensor); ++axis) {
      output->dims.push_back(api_->Dim(tensor, axis));
      output->count *= output->dims.back();
    }
    output->data = static_cast<const char*>(api_->TensorData(tensor));
    output->strings.clear();
    if (output->dtype != kString) return ElementBytes(output->dtype) != 0;
    for (int64_t item = 0; item < output->count; ++item) {
      const void* text = output->data + item * sizeof(tf::StringView);
      output->strings.emplace_back(api_->StringGetDataPointer(text), api_->StringGetSize(text));
    }
    return true;
  }

  void Reset() override {
    for (tf::Tensor* tensor : outputs_) {
      if (tensor != nullptr) api_->DeleteTensor(tensor);
    }
    outputs_.clear();
    for (size_t index = 0; index < kept_.size(); ++index) {
      kept_[index]->Reset(model_->copies_strings_ && signature_->inputs[index].dtype == kString);
    }
  }

 private:
  // Makes room for the inputs of a signature, unless it was the last run's, too.
  void Begin(const Signature& signature) {
    if (signature_ == &signature) return;
    signature_ = &signature;
    kept_.clear();
    for (size_t input = 0; input < signature.inputs.size(); ++input) {
      kept_.push_back(std::make_unique<InputTensor>(api_));
    }
    inputs_.assign(signature.inputs.size(), nullptr);
  }
  // Where an output of the last run is: among the inputs, or among what was fetched.
  struct Answer {
    bool is_input;
    size_t index;
  };

  bool Fill(int32_t dtype, const InputPart& part, char* data) const {
    if (dtype != kString) return FillNumbers(*part.tensor, part.count, data);
    auto* views = reinterpret_cast<tf::StringView*>(data);
    if (model_->copies_strings_) {
      return FillStrings(*part.tensor, part.count, [views, this](int64_t index, std::string_view text) {
        api_->StringInit(&views[index]);
        api_->StringCopy(&views[index], text.data(), text.size());
      });
    }
    return FillStrings(*part.tensor, part.count, [views](int64_t index, std::string_view text) {
      views[index] = {text.size() << 2 | tf::kStringIsView, text.data(), 0};
    });
  }

  const TensorFlowModel* const model_;
  const tf::Api* const api_;
  const Status status_;
  const Signature* signature_ = nullptr;            // the last run's
  std::vector<std::unique_ptr<InputTensor>> kept_;  // its inputs
  std::vector<tf::Tensor*> inputs_, outputs_;
  std::vector<tf::Output> fetches_;
  std::vector<Answer> answers_;  // of the outputs asked for, in order
};

std::unique_ptr<TensorFlowModel> TensorFlowModel::Load(const std::string& library, const std::string& folder,
                                                       const std::vector<std::string>& tags, const std::string& config,
                                                       const std::string& run_options,
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
  model->run_options_ = api->NewBufferFromString(run_options.data(), run_options.size());
  if (status.code() == tf::kOk) {
    std::vector<const char*> names;
    for (const std::string& tag : tags) names.push_back(tag.c_str());
    tf::Buffer definition{nullptr, 0, nullptr};
    model->session_ = api->LoadSessionFromSavedModel(options, nullptr, folder.c_str(), names.data(),
                                                     static_cast<int>(names.size()), model->graph_, &definition,
                                                     status.get());
    if (definition.data != nullptr) {
      meta_graph->assign(static_cast<const char*>(definition.data), definition.length);
      if (definition.deallocator != nullptr) {
        definition.deallocator(const_cast<void*>(definition.data), definition.length);
      }
    }
  }
  api->DeleteSessionOptions(options);
  if (status.code() != tf::kOk) {
    *error = FirstLines(status.message());
    return nullptr;
  }
  return model;
}

bool TensorFlowModel::Extend(const std::string& graph_def, const std::vector<std::string>& given, std::string* error) {
  Status status(api_);
  tf::ImportOptions* options = api_->NewImportGraphDefOptions();
  for (const std::string& name : given) {
    if (tf::Operation* operation = api_->GraphOperationByName(graph_, name.c_str())) {
      api_->ImportGraphDefOptionsAddInputMapping(options, name.c_str(), 0, {operation, 0});
    }
  }
  tf::Buffer* buffer = api_->NewBufferFromString(graph_def.data(), graph_def.size());
  api_->GraphImportGraphDef(graph_, buffer, options, status.get());
  api_->DeleteBuffer(buffer);
  api_->DeleteImportGraphDefOptions(options);
  *error = FirstLines(status.message());
  return status.code() == tf::kOk;
}

std::vector<FetchedTensor> TensorFlowModel::Fetch(const std::vector<std::string>& names, std::string* error) {
  std::vector<tf::Output> fetches(names.size());
  for (size_t index = 0; index < names.size(); ++index) {
    if (!FindOutput(api_, graph_, names[index], &fetches[index])) {
      *error = "the graph has no " + names[index];
      return {};
    }
  }
  Status status(api_);
  std::vector<tf::Tensor*> tensors(names.size());
  api_->SessionRun(session_, run_options_, nullptr, nullptr, 0, fetches.data(), tensors.data(),
                   static_cast<int>(fetches.size()), nullptr, 0, nullptr, status.get());
  if (status.code() != tf::kOk) {
    *error = FirstLines(status.message());
    return {};
  }
  std::vector<FetchedTensor> found(names.size());
  for (size_t index = 0; index < names.size(); ++index) {
    tf::Tensor* tensor = tensors[index];
    found[index].dtype = api_->TensorType(tensor);
    for (int axis = 0; axis < api_->NumDims(tensor); ++axis) found[index].dims.push_back(api_->Dim(tensor, axis));
    if (ElementBytes(found[index].dtype) != 0) {
      found[index].data.assign(static_cast<const char*>(api_->TensorData(tensor)), api_->TensorByteSize(tensor));
    } else if (found[index].dtype == kString) {
      const char* text = static_cast<const char*>(api_->TensorData(tensor));
      const size_t count = api_->TensorByteSize(tensor) / sizeof(tf::StringView);
      for (size_t item = 0; item < count; ++item, text += sizeof(tf::StringView)) {
        found[index].strings.emplace_back(api_->StringGetDataPointer(text), api_->StringGetSize(text));
      }
    }
    api_->DeleteTensor(tensor);
  }
  return found;
}

std::string TensorFlowModel::Ops() const {
  tf::Buffer* buffer = api_->GetAllOpList();
  std::string ops(static_cast<const char*>(buffer->data), buffer->length);
  api_->DeleteBuffer(buffer);
  return ops;
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

bool TensorFlowModel::AddSignature(Signature signature, const std::vector<std::string>& input_names,
                                   const std::vector<std::string>& output_names) {
  auto endpoints = std::make_unique<Endpoints>();
  endpoints->inputs.resize(input_names.size());
  endpoints->outputs.resize(output_names.size());
  for (size_t index = 0; index < input_names.size(); ++index) {
    if (!FindOutput(api_, graph_, input_names[index], &endpoints->inputs[index])) return false;
  }
  for (size_t index = 0; index < output_names.size(); ++index) {
    if (!FindOutput(api_, graph_, output_names[index], &endpoints->outputs[index])) return false;
  }
  for (const tf::Output& output : endpoints->outputs) {
    const auto input = std::find_if(endpoints->inputs.begin(), endpoints->inputs.end(), [&](const tf::Output& fed) {
      return fed.operation == output.operation && fed.index == output.index;
    });
    endpoints->passed.push_back(input == endpoints->inputs.end() ? kComputed : input - endpoints->inputs.begin());
  }
  auto owned = std::make_unique<Signature>(std::move(signature));
  owned->Finish();
  owned->any_shape = true;
  signatures_.push_back(std::move(owned));
  endpoints_.push_back(std::move(endpoints));
  return true;
}

const TensorFlowModel::Endpoints& TensorFlowModel::EndpointsOf(const Signature& signature) const {
  size_t index = 0;
  while (signatures_[index].get() != &signature) ++index;
  return *endpoints_[index];
}

std::unique_ptr<ModelSession> TensorFlowModel::MakeSession() { return std::make_unique<TensorFlowSession>(this); }

}  // namespace corelane
