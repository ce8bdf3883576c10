#include "codec/predict_codec.h"

#include <algorithm>

#include "codec/field_reader.h"
#include "codec/model_spec.h"

namespace corelane {
namespace {

constexpr std::string_view kDefaultSignature = "serving_default";
constexpr size_t kRankMax = 64;

// One entry of PredictRequest.inputs, key and value in any order. False too for a value in two parts, or with a
// field that no entry has: parsers make different things of these.
bool ReadEntry(std::string_view data, std::string_view* key, std::string_view* value) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  bool has_value = false;
  *key = *value = {};
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (field == 1 && wire_type == kBytes) {
      if (!reader.ReadBytes(key)) return false;
    } else if (field == 2 && wire_type == kBytes) {
      if (has_value || !reader.ReadBytes(value)) return false;
      has_value = true;
    } else {
      return false;
    }
  }
  return true;
}

bool CanTravel(const TensorSlot& slot, const TensorMessage& tensor) {
  return tensor.dtype == slot.dtype && !tensor.unknown_rank && tensor.dims.size() <= kRankMax;
}

uint64_t EntryBytes(const TensorSlot& slot, uint64_t tensor_bytes) {
  return MessageWriter::BytesFieldBytes(1, slot.alias.size()) + MessageWriter::BytesFieldBytes(2, tensor_bytes);
}

uint64_t SpecBytes(const PredictRequest& request, const ResponseStyle& style) {
  return MessageWriter::BytesFieldBytes(1, style.model.size()) +
         MessageWriter::BytesFieldBytes(2, MessageWriter::VarintFieldBytes(1, static_cast<uint64_t>(style.version))) +
         MessageWriter::BytesFieldBytes(3, request.signature->name.size());
}

}  // namespace

bool PredictRequest::FindInput(std::string_view alias, size_t position, uint32_t* index) {
  if (position < order_.size() && signature->inputs[order_[position]].alias == alias) {
    *index = order_[position];
    return true;
  }
  const auto found = signature->input_index.find(alias);
  if (found == signature->input_index.end()) return false;
  *index = found->second;
  if (position < order_.size()) order_[position] = *index;
  return true;
}

bool PredictRequest::Begin(const std::vector<std::unique_ptr<Signature>>& signatures, std::string_view name) {
  const std::string_view wanted = name.empty() ? kDefaultSignature : name;
  const auto found = std::find_if(signatures.begin(), signatures.end(),
                                  [&](const auto& one) { return one->name == wanted; });
  if (found == signatures.end()) return false;
  signature = found->get();
  id = {};
  rows = -1;
  fits_ = true;
  inputs.resize(signature->inputs.size());
  counts.resize(signature->inputs.size());
  present_.assign(signature->inputs.size(), false);
  if (ordered_ != signature) {
    ordered_ = signature;
    order_.assign(inputs.size(), 0);
  }
  outputs.clear();
  missing_ = inputs.size();
  return true;
}

bool PredictRequest::Finish() {
  if (missing_ != 0) return false;  // one that is not there may have a default
  if (!fits_) rows = -1;
  if (outputs.empty()) {
    for (uint32_t index = 0; index < signature->outputs.size(); ++index) outputs.push_back(index);
  }
  return true;
}

bool PredictRequest::AddOutput(std::string_view alias) {
  const auto slot = std::find_if(signature->outputs.begin(), signature->outputs.end(),
                                 [&](const TensorSlot& one) { return one.alias == alias; });
  if (slot == signature->outputs.end()) return false;
  const auto index = static_cast<uint32_t>(slot - signature->outputs.begin());
  if (std::find(outputs.begin(), outputs.end(), index) != outputs.end()) return false;
  outputs.push_back(index);
  return true;
}

TensorMessage* PredictRequest::NextInput(std::string_view alias) {
  uint32_t index;
  if (missing_ == 0 || !FindInput(alias, inputs.size() - missing_, &index)) return nullptr;
  // Of a repeated key the last one counts; two of them in one request are somebody's test, not worth more.
  if (present_[index]) return nullptr;
  inputs[index].Clear();
  return &inputs[index];
}

bool PredictRequest::AddInput(TensorMessage* tensor, uint64_t* budget) {
  const auto index = static_cast<size_t>(tensor - inputs.data());
  const TensorSlot& slot = signature->inputs[index];
  if (!CanTravel(slot, *tensor)) return false;
  if (!slot.Accepts(tensor->dims)) {
    if (!signature->any_shape) return false;
    fits_ = false;
  }
  if (!tensor->CountElements(*budget, &counts[index])) return false;
  const size_t element = tensor->dtype == kString ? kStringBytes : ElementBytes(tensor->dtype);
  if (element == 0) return false;
  *budget -= static_cast<uint64_t>(counts[index]) * element;
  const int64_t first = tensor->dims.empty() ? -1 : tensor->dims[0];
  rows = missing_ == inputs.size() || rows == first ? first : -1;
  present_[index] = true;
  --missing_;
  return true;
}

bool PredictRequest::Decode(const std::vector<std::unique_ptr<Signature>>& signatures, std::string_view data,
                            uint64_t tensor_bytes_max) {
  ModelSpec spec;
  if (PeekModelSpec(data, 0, &spec) != PeekResult::kOk || !Begin(signatures, spec.signature_name)) return false;
  wire = Wire::kTensorFlow;
  uint64_t budget = tensor_bytes_max;
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    std::string_view bytes, alias, value;
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if ((field != 2 && field != 3) || wire_type != kBytes) {
      if (!reader.Skip(wire_type)) return false;
      continue;
    }
    if (!reader.ReadBytes(&bytes)) return false;
    if (field == 3) {
      if (!AddOutput(bytes)) return false;
      continue;
    }
    if (!ReadEntry(bytes, &alias, &value)) return false;
    TensorMessage* tensor = NextInput(alias);
    if (tensor == nullptr || !tensor->Merge(value) || !AddInput(tensor, &budget)) return false;
  }
  return Finish();
}

void OutputTensor::Slice(int64_t begin, int64_t end, OutputTensor* slice) const {
  const int64_t per_row = dims[0] == 0 ? 0 : count / dims[0];
  slice->dtype = dtype;
  slice->dims = dims;
  slice->dims[0] = end - begin;
  slice->count = (end - begin) * per_row;
  if (dtype == kString) {
    slice->strings.assign(strings.begin() + begin * per_row, strings.begin() + end * per_row);
  } else {
    slice->data = data + static_cast<size_t>(begin * per_row) * ElementBytes(dtype);
  }
}

uint64_t ResponseBytes(const PredictRequest& request, const std::vector<OutputTensor>& outputs,
                       const ResponseStyle& style) {
  uint64_t bytes = 0;
  for (size_t index = 0; index < outputs.size(); ++index) {
    const OutputTensor& tensor = outputs[index];
    const uint64_t tensor_bytes = TensorBytes(tensor.dtype, tensor.dims, tensor.data, tensor.count, tensor.strings,
                                              style.tensor_content);
    const TensorSlot& slot = request.signature->outputs[request.outputs[index]];
    bytes += MessageWriter::BytesFieldBytes(1, EntryBytes(slot, tensor_bytes));
  }
  return bytes + MessageWriter::BytesFieldBytes(2, SpecBytes(request, style));
}

char* WriteResponse(const PredictRequest& request, const std::vector<OutputTensor>& outputs,
                    const ResponseStyle& style, char* out) {
  MessageWriter writer(out);
  for (size_t index = 0; index < outputs.size(); ++index) {
    const OutputTensor& tensor = outputs[index];
    const uint64_t tensor_bytes = TensorBytes(tensor.dtype, tensor.dims, tensor.data, tensor.count, tensor.strings,
                                              style.tensor_content);
    const TensorSlot& slot = request.signature->outputs[request.outputs[index]];
    writer.BytesHeader(1, EntryBytes(slot, tensor_bytes));
    writer.BytesField(1, slot.alias);
    writer.BytesHeader(2, tensor_bytes);
    WriteTensor(tensor.dtype, tensor.dims, tensor.data, tensor.count, tensor.strings, style.tensor_content, &writer);
  }
  writer.BytesHeader(2, SpecBytes(request, style));
  writer.BytesField(1, style.model);
  writer.BytesHeader(2, MessageWriter::VarintFieldBytes(1, static_cast<uint64_t>(style.version)));
  writer.VarintField(1, static_cast<uint64_t>(style.version));
  writer.BytesField(3, request.signature->name);
  return writer.end();
}

}  // namespace corelane
