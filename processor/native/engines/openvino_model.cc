#include "engines/openvino_model.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string_view>

#include "engines/memory.h"

namespace corelane {
namespace {

constexpr size_t kPropertiesMax = 8;
// From here on a tensor over the request's own bytes costs less than a copy into one that is kept.
constexpr size_t kInPlaceBytes = 16 << 10;

}  // namespace

class OpenVinoSession : public ModelSession {
 public:
  OpenVinoSession(const OpenVinoModel* model, ov::InferRequest* request)
      : model_(model),
        api_(model->api_),
        request_(request),
        inputs_(model->input_types_.size()),
        problems_(model->checks_.size() + model->input_types_.size()) {}
  ~OpenVinoSession() override {
    Reset();
    for (Input& input : inputs_) Drop(&input);
    api_->infer_request_free(request_);
  }

  bool SetInput(const Signature& signature, uint32_t index, const std::vector<int64_t>& dims,
                const std::vector<InputPart>& parts) override {
    const int32_t dtype = signature.inputs[index].dtype;
    Input& input = inputs_[index];
    int64_t count = 0;
    for (const InputPart& part : parts) count += part.count;
    input.is_empty = count == 0;
    input.run_dims = dims;
    const size_t element = ElementBytes(dtype);
    input.bytes = static_cast<uint64_t>(count) * (element == 0 ? sizeof(std::string) : element);
    CheckElements(signature, index, count);
    ov::Shape shape{static_cast<int64_t>(dims.size()), const_cast<int64_t*>(dims.data())};
    if (dtype != kString && parts.size() == 1 && static_cast<size_t>(count) * element >= kInPlaceBytes) {
      const char* bytes = NumbersInPlace(*parts[0].tensor, count, element);
      if (bytes != nullptr) {
        Drop(&input);
        Check(signature, index, bytes, count);
        return api_->tensor_create_from_host_ptr(model_->input_types_[index], shape, const_cast<char*>(bytes),
                                                 &input.tensor) == 0 &&
               Use(index, input);
      }
    }
    if (input.data == nullptr || input.dims != dims) {
      Drop(&input);
      void* data = nullptr;
      const bool is_made = api_->tensor_create(model_->input_types_[index], shape, &input.tensor) == 0;
      if (!is_made && IsMemoryShort(input.bytes)) throw std::bad_alloc();
      if (!is_made || !Use(index, input) ||
          (count != 0 && api_->tensor_data(input.tensor, &data) != 0)) {
        return false;
      }
      input.dims = dims;
      input.data = static_cast<char*>(data);
    }
    if (dtype == kString) return FillTexts(parts, reinterpret_cast<std::string*>(input.data));
    char* next = input.data;
    for (const InputPart& part : parts) {
      if (!FillNumbers(*part.tensor, part.count, next)) return false;
      next += static_cast<size_t>(part.count) * element;
    }
    Check(signature, index, input.data, count);
    return true;
  }

  Code Run(const Signature& signature, const std::vector<uint32_t>& outputs, std::string* message) override {
    if (const std::string* problem = Problem()) {
      *message = *problem;
      return kInvalidArgument;
    }
    int status = api_->infer_request_infer(request_);
    // The failure may be left over from an earlier run, of another session.
    for (int again = 0; status != 0 && again < kRunsAgain; ++again) {
      Cleanse(signature);
      status = api_->infer_request_infer(request_);
    }
    if (status != 0) return Fail(signature, status, message);
    RememberShapes(signature);
    for (uint32_t output : outputs) {
      if (status != 0) break;
      outputs_.push_back(nullptr);
      status = api_->infer_request_get_output_tensor_by_index(request_, output, &outputs_.back());
      dtypes_.push_back(model_->signatures_[0]->outputs[output].dtype);
    }
    if (status == 0 && !AreDefined()) {
      *message = "an input has no elements, and OpenVINO does not define what it answers to that";
      return kNotCovered;
    }
    if (status == 0) return kOk;
    *message = "OpenVINO: " + api_->LastError();
    return kInternal;
  }

  bool Output(size_t position, OutputTensor* output) override {
    const ov::Tensor* tensor = outputs_[position];
    output->dtype = dtypes_[position];
    output->strings.clear();
    output->data = nullptr;
    output->count = ReadShape(tensor, &output->dims);
    void* data = nullptr;
    if (output->count != 0 && api_->tensor_data(tensor, &data) != 0) return false;
    if (output->dtype == kString) {
      const std::string* const texts = static_cast<const std::string*>(data);
      output->strings.assign(texts, texts + output->count);
      return true;
    }
    output->data = static_cast<const char*>(data);
    return true;
  }

  void Reset() override {
    for (ov::Tensor* tensor : outputs_) {
      if (tensor != nullptr) api_->tensor_free(tensor);
    }
    outputs_.clear();
    dtypes_.clear();
    if (!owes_memory_ || ++runs_owing_ % kRunsBetweenReleases != 0) return;
    owes_memory_ = !api_->ReleaseMemory(model_->compiled_);
  }

  void GiveBack() override {
    ov::InferRequest* fresh = nullptr;
    if (api_->compiled_model_create_infer_request(model_->compiled_, &fresh) == 0) {
      for (Input& input : inputs_) Drop(&input);
      api_->infer_request_free(request_);
      request_ = fresh;
    }
    owes_memory_ = !api_->ReleaseMemory(model_->compiled_);
  }

 private:
  static constexpr uint64_t kRunsBetweenReleases = 64;
  static constexpr int kRunsAgain = 3, kRoundsToCleanse = 3;

  // An input's tensor, set in the request. It is kept while requests have the same shape, unless it lies in a request's
  // bytes: then `data` is null.
  struct Input {
    ov::Tensor* tensor = nullptr;
    char* data = nullptr;
    std::vector<int64_t> dims;
    bool is_empty = false;  // of the run that is set, whatever is kept
    uint64_t bytes = 0;     // the same
    std::vector<int64_t> run_dims;  // the same
  };

  using Shapes = std::vector<std::vector<int64_t>>;  // of the inputs

  // The code of a run that failed, when the graph is as if it had not been.
  Code Fail(const Signature& signature, int status, std::string* message) {
    *message = api_->LastError();
    uint64_t bytes = 0;
    for (const Input& input : inputs_) bytes += input.bytes;
    const bool is_memory_short = IsMemoryShort(bytes);
    Cleanse(signature);
    if (is_memory_short) {
      *message = "OpenVINO had too little memory, or refused the run: " + *message;
      return kResourceExhausted;
    }
    if (status == ov::kRefused) return kInvalidArgument;
    *message = "OpenVINO: " + *message;
    return kInternal;
  }

  void RememberShapes(const Signature& signature) {
    bool is_same = shapes_.size() == inputs_.size();
    for (size_t index = 0; is_same && index < inputs_.size(); ++index) {
      is_same = shapes_[index] == inputs_[index].run_dims;
    }
    if (is_same) return;
    Shapes shapes;
    for (const Input& input : inputs_) shapes.push_back(input.run_dims);
    if (DifferThroughout(signature, shapes, shapes_)) {
      other_shapes_ = std::move(shapes_);
    } else if (!DifferThroughout(signature, shapes, other_shapes_)) {
      other_shapes_.clear();
    }
    shapes_ = std::move(shapes);
  }

  // Whether every input that may have several shapes has another in each.
  static bool DifferThroughout(const Signature& signature, const Shapes& one, const Shapes& other) {
    if (one.size() != other.size()) return false;
    for (size_t index = 0; index < one.size(); ++index) {
      if (!IsFixed(signature.inputs[index]) && one[index] == other[index]) return false;
    }
    return true;
  }

  static bool IsFixed(const TensorSlot& slot) {
    return slot.rank_known && std::all_of(slot.dims.begin(), slot.dims.end(), [](int64_t size) { return size >= 0; });
  }

  // Runs shapes other than the last good run's, so that the graph looks at all of them anew: an earlier run's, or some that
  // are made up. It is what they are for that they may fail.
  void Cleanse(const Signature& signature) {
    Shapes base = shapes_;
    for (size_t index = base.size(); index < inputs_.size(); ++index) base.push_back(inputs_[index].run_dims);
    std::vector<Shapes> candidates;
    if (!other_shapes_.empty()) candidates.push_back(other_shapes_);
    for (const int64_t factor : {2, 3, 4}) {
      Shapes shapes = base;
      for (size_t index = 0; index < shapes.size(); ++index) {
        const TensorSlot& slot = signature.inputs[index];
        for (size_t axis = 0; axis < shapes[index].size(); ++axis) {
          if (slot.rank_known && slot.dims[axis] >= 0) continue;
          shapes[index][axis] = factor * std::max<int64_t>(shapes[index][axis], 1);
        }
      }
      candidates.push_back(std::move(shapes));
    }
    // Which graph a run gets is OpenVINO's choice, and a graph that is not clean yet may refuse the shapes that it had last:
    // so all come round several times, each followed by others.
    for (int round = 0; round < kRoundsToCleanse; ++round) {
      for (const Shapes& shapes : candidates) RunNeutral(signature, shapes);
    }
    for (uint32_t index = 0; index < inputs_.size(); ++index) Use(index, inputs_[index]);
    api_->LastError();  // forgets it
  }

  // Runs zeros, or the least that a check lets pass. Whether that went well.
  bool RunNeutral(const Signature& signature, const Shapes& shapes) {
    bool is_set = true;
    std::vector<ov::Tensor*> tensors;
    for (uint32_t index = 0; is_set && index < shapes.size(); ++index) {
      std::vector<int64_t> dims = shapes[index];
      ov::Tensor* tensor = nullptr;
      is_set = api_->tensor_create(model_->input_types_[index], {static_cast<int64_t>(dims.size()), dims.data()},
                                   &tensor) == 0;
      if (!is_set) break;
      tensors.push_back(tensor);
      int64_t count = 1;
      for (int64_t size : dims) count *= size;
      FillNeutral(index, signature.inputs[index].dtype, tensor, count);
      is_set = api_->infer_request_set_input_tensor_by_index(request_, index, tensor) == 0;
    }
    const bool went_well = is_set && api_->infer_request_infer(request_) == 0;
    for (ov::Tensor* tensor : tensors) api_->tensor_free(tensor);
    return went_well;
  }

  void FillNeutral(uint32_t index, int32_t dtype, ov::Tensor* tensor, int64_t count) const {
    void* data = nullptr;
    if (dtype == kString || count == 0 || api_->tensor_data(tensor, &data) != 0) return;
    const size_t element = ElementBytes(dtype);
    std::memset(data, 0, static_cast<size_t>(count) * element);
    for (const RangeCheck& check : model_->checks_) {
      if (check.input != index) continue;
      for (int64_t item = 0; item < count; ++item) {
        // Integers lie with their low bytes first.
        const int64_t least = check.lows[static_cast<size_t>(item) % check.lows.size()];
        std::memcpy(static_cast<char*>(data) + static_cast<size_t>(item) * element, &least, std::min<size_t>(element, 8));
      }
    }
  }

  // The elements of a tensor.
  int64_t ReadShape(const ov::Tensor* tensor, std::vector<int64_t>* dims) const {
    ov::Shape shape{0, nullptr};
    dims->clear();
    // The shape of a scalar is one that the C API has no room for, and so an error.
    if (api_->tensor_get_shape(tensor, &shape) == 0) {
      dims->assign(shape.dims, shape.dims + shape.rank);
      api_->shape_free(&shape);
    }
    int64_t count = 1;
    for (int64_t size : *dims) count *= size;
    return count;
  }

  // Whether the run's outputs are what it wrote.
  bool AreDefined() {
    bool has_empty_input = false;
    for (const Input& input : inputs_) has_empty_input |= input.is_empty;
    if (!has_empty_input) return true;
    for (const ov::Tensor* tensor : outputs_) {
      if (ReadShape(tensor, &dims_) != 0) return false;
    }
    return true;
  }

  static bool FillTexts(const std::vector<InputPart>& parts, std::string* next) {
    for (const InputPart& part : parts) {
      const auto put = [next](int64_t index, std::string_view text) { next[index].assign(text); };
      if (!FillStrings(*part.tensor, part.count, put)) return false;
      next += part.count;
    }
    return true;
  }

  void CheckElements(const Signature& signature, uint32_t index, int64_t count) {
    std::string& problem = problems_[model_->checks_.size() + index];
    problem.clear();
    if (count != 0 || model_->needs_elements_.empty()) return;
    problem = "input \"" + signature.inputs[index].alias + "\" has no element, and " + model_->needs_elements_ +
              " takes one (engine openvino)";
  }

  const std::string* Problem() const {
    const auto has_words = [](const std::string& problem) { return !problem.empty(); };
    const auto found = std::find_if(problems_.begin(), problems_.end(), has_words);
    return found == problems_.end() ? nullptr : &*found;
  }

  // Remembers, for Run to say, whether an input's values are within their range.
  void Check(const Signature& signature, uint32_t index, const void* data, int64_t count) {
    for (size_t number = 0; number < model_->checks_.size(); ++number) {
      const RangeCheck& check = model_->checks_[number];
      if (check.input != index) continue;
      problems_[number].clear();
      Outlier outlier;
      if (IsWithin(check, signature.inputs[index].dtype, data, count, &outlier)) continue;
      const size_t columns = check.lows.size();
      const std::string column = " in column " + std::to_string(outlier.column) + " (of 0 to " +
                                 std::to_string(columns - 1) + ")";
      problems_[number] = "input \"" + signature.inputs[index].alias + "\" holds " + outlier.value +
                          (columns == 1 ? "" : column) + ", outside [" +
                          std::to_string(check.lows[outlier.column]) + ", " +
                          std::to_string(check.highs[outlier.column]) + "]: " + check.reason;
    }
  }

  bool Use(uint32_t index, const Input& input) const {
    return api_->infer_request_set_input_tensor_by_index(request_, index, input.tensor) == 0;
  }

  void Drop(Input* input) const {
    if (input->tensor != nullptr) api_->tensor_free(input->tensor);
    input->tensor = nullptr;
    input->data = nullptr;
    input->dims.clear();
  }

  const OpenVinoModel* const model_;
  const ov::Api* const api_;
  ov::InferRequest* request_;
  Shapes shapes_, other_shapes_;  // of the last run that went well; of one before it that differs in every input
  bool owes_memory_ = false;  // other sessions ran when it was to be given back
  uint64_t runs_owing_ = 0;
  std::vector<Input> inputs_;
  std::vector<std::string> problems_;  // of each check, then of each input that is set; empty if there is none
  std::vector<ov::Tensor*> outputs_;
  std::vector<int32_t> dtypes_;
  std::vector<int64_t> dims_;
};

std::unique_ptr<OpenVinoModel> OpenVinoModel::Load(const std::string& library, const std::string& file,
                                                   const std::vector<std::pair<std::string, std::string>>& properties,
                                                   Signature signature, std::vector<RangeCheck> checks,
                                                   std::string needs_elements, std::string* error) {
  const ov::Api* api = ov::Api::Open(library, error);
  if (api == nullptr) return nullptr;
  std::unique_ptr<OpenVinoModel> model(new OpenVinoModel());
  model->api_ = api;
  model->signatures_.push_back(std::make_unique<Signature>(std::move(signature)));
  model->signatures_[0]->Finish();
  model->checks_ = std::move(checks);
  model->needs_elements_ = std::move(needs_elements);
  if (!model->Compile(file, properties) || !model->ReadTypes()) {
    *error = api->LastError();
    return nullptr;
  }
  return model;
}

bool OpenVinoModel::Compile(const std::string& file,
                            const std::vector<std::pair<std::string, std::string>>& properties) {
  if (properties.size() > kPropertiesMax || api_->core_create(&core_) != 0) return false;
  ov::Model* model = nullptr;
  if (api_->core_read_model(core_, file.c_str(), nullptr, &model) != 0) return false;
  // The function takes as many arguments as it is told; the rest are not looked at.
  const char* text[2 * kPropertiesMax] = {};
  for (size_t index = 0; index < properties.size(); ++index) {
    text[2 * index] = properties[index].first.c_str();
    text[2 * index + 1] = properties[index].second.c_str();
  }
  static_assert(kPropertiesMax == 8);
  const int status = api_->core_compile_model(core_, model, "CPU", 2 * properties.size(), &compiled_, text[0], text[1],
                                              text[2], text[3], text[4], text[5], text[6], text[7], text[8], text[9],
                                              text[10], text[11], text[12], text[13], text[14], text[15]);
  api_->model_free(model);
  return status == 0;
}

bool OpenVinoModel::ReadTypes() {
  for (size_t index = 0; index < signatures_[0]->inputs.size(); ++index) {
    ov::Port* port = nullptr;
    if (api_->compiled_model_input_by_index(compiled_, index, &port) != 0) return false;
    int type = 0;
    const int status = api_->port_get_element_type(port, &type);
    api_->output_const_port_free(port);
    if (status != 0) return false;
    input_types_.push_back(type);
    if (signatures_[0]->inputs[index].dtype == kString && !HasOurStrings(type)) return false;
  }
  return true;
}

bool OpenVinoModel::HasOurStrings(int type) const {
  const std::string text = "long enough to lie outside of its object";
  const char* texts[] = {text.c_str()};
  int64_t dims[] = {1};
  ov::Tensor* tensor = nullptr;
  if (api_->tensor_create(type, {1, dims}, &tensor) != 0) return false;
  size_t bytes = 0;
  void* data = nullptr;
  const bool are_ours = api_->tensor_set_string_data(tensor, texts, 1) == 0 &&
                        api_->tensor_get_byte_size(tensor, &bytes) == 0 && bytes == sizeof(std::string) &&
                        api_->tensor_data(tensor, &data) == 0 && *static_cast<const std::string*>(data) == text;
  api_->tensor_free(tensor);
  return are_ours;
}

OpenVinoModel::~OpenVinoModel() {
  if (compiled_ != nullptr) api_->compiled_model_free(compiled_);
  if (core_ != nullptr) api_->core_free(core_);
}

std::unique_ptr<ModelSession> OpenVinoModel::MakeSession() {
  ov::InferRequest* request = nullptr;
  if (api_->compiled_model_create_infer_request(compiled_, &request) != 0) {
    throw std::runtime_error("OpenVINO: " + api_->LastError());
  }
  return std::make_unique<OpenVinoSession>(this, request);
}

}  // namespace corelane
