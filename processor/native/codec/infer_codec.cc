#include "codec/infer_codec.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "codec/field_reader.h"

namespace corelane {
namespace {

// Fields of ModelInferRequest.
enum : uint32_t { kName = 1, kVersion = 2, kId = 3, kParameters = 4, kInputs = 5, kOutputs = 6, kRaw = 7 };
// Fields of ModelInferResponse that the request has other numbers for.
enum : uint32_t { kResponseOutputs = 5, kResponseRaw = 6 };
// Fields of both kinds of tensors.
enum : uint32_t { kTensorName = 1, kDatatype = 2, kTensorShape = 3, kTensorParameters = 4, kContents = 5 };

// Fields of InferRequestedOutputTensor that a tensor has other numbers for.
enum : uint32_t { kOutputParameters = 2 };

constexpr std::string_view kSignatureParameter = "signature_name";
// Parameters that change no answer. Python knows others, and words the refusal of the rest.
constexpr std::string_view kHints[] = {"priority", "timeout", "triton_enable_empty_final_response"};
constexpr std::string_view kRequestBinary = "binary_data_output";
constexpr std::string_view kOutputBinary = "binary_data";
// Fields of InferParameter.
enum : uint32_t { kBoolParameter = 1, kTextParameter = 3 };

struct DatatypeName {
  int32_t dtype;
  std::string_view name;
};

constexpr DatatypeName kDatatypes[] = {
    {kFloat, "FP32"},   {kString, "BYTES"}, {kInt64, "INT64"},   {kInt32, "INT32"},   {kDouble, "FP64"},
    {kBool, "BOOL"},    {kUint8, "UINT8"},  {kUint16, "UINT16"}, {kUint32, "UINT32"}, {kUint64, "UINT64"},
    {kInt8, "INT8"},    {kInt16, "INT16"},  {kHalf, "FP16"},     {kBfloat16, "BF16"},
};

// 0 if there is none of this name.
int32_t DtypeOf(std::string_view name) {
  for (const DatatypeName& one : kDatatypes) {
    if (one.name == name) return one.dtype;
  }
  return 0;
}

// Empty if the protocol has no name for it.
std::string_view NameOf(int32_t dtype) {
  for (const DatatypeName& one : kDatatypes) {
    if (one.dtype == dtype) return one.name;
  }
  return {};
}

// An entry of a map of parameters: its key, its value if that is a string, and which field the value stands in.
bool ReadParameter(std::string_view data, std::string_view* key, std::string_view* text, uint32_t* kind) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  *kind = 0;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    std::string_view bytes;
    if (wire_type != kBytes || !reader.ReadBytes(&bytes)) return false;
    if (field == 1) {
      *key = bytes;
    } else if (field == 2) {
      FieldReader value(bytes);
      while (!value.AtEnd()) {
        if (!value.ReadTag(&field, &wire_type)) return false;
        // Of several values the last one counts.
        *kind = field;
        const bool is_text = field == kTextParameter && wire_type == kBytes;
        if (is_text ? !value.ReadBytes(text) : !value.Skip(wire_type)) return false;
      }
    } else {
      return false;
    }
  }
  return true;
}

bool ReadDims(std::string_view packed, std::vector<int64_t>* dims) {
  FieldReader reader(packed);
  while (!reader.AtEnd()) {
    uint64_t size;
    if (!reader.ReadVarint(&size)) return false;
    dims->push_back(static_cast<int64_t>(size));
  }
  return true;
}

// An output that is asked for: its name, and no parameter that would change it.
bool ReadOutput(std::string_view data, std::string_view* name) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  *name = {};
  while (!reader.AtEnd()) {
    std::string_view bytes, key, text;
    uint32_t kind;
    if (!reader.ReadTag(&field, &wire_type) || wire_type != kBytes || !reader.ReadBytes(&bytes)) return false;
    if (field == kTensorName) {
      *name = bytes;
    } else if (field != kOutputParameters || !ReadParameter(bytes, &key, &text, &kind) || key != kOutputBinary ||
               kind != kBoolParameter) {
      return false;
    }
  }
  return true;
}

// The names that a tensor goes by: they come first, or the request is not one of ours.
bool ReadTensorName(std::string_view data, std::string_view* name) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (field == kTensorName) return wire_type == kBytes && reader.ReadBytes(name);
    if (!reader.Skip(wire_type)) return false;
  }
  return false;
}

// An input but for its raw contents. Parameters of inputs are for Python.
bool ReadInput(std::string_view data, TensorMessage* tensor, bool* has_contents) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  std::string_view bytes, contents;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (field == kTensorShape && wire_type == kVarint) {
      uint64_t size;
      if (!reader.ReadVarint(&size)) return false;
      tensor->dims.push_back(static_cast<int64_t>(size));
      continue;
    }
    if (wire_type != kBytes || !reader.ReadBytes(&bytes)) return false;
    if (field == kDatatype) {
      tensor->dtype = DtypeOf(bytes);
    } else if (field == kTensorShape) {
      if (!ReadDims(bytes, &tensor->dims)) return false;
    } else if (field == kContents) {
      if (*has_contents) return false;  // in two parts: for a parser that merges
      contents = bytes;
      *has_contents = true;
    } else if (field != kTensorName) {
      return false;
    }
  }
  tensor->exact = true;
  return tensor->dtype != 0 && (!*has_contents || tensor->MergeInferContents(contents));
}

// The signature and the id; `raw` tells whether there are raw contents.
bool ReadHead(std::string_view data, std::string_view* signature, std::string_view* id, bool* raw) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    std::string_view bytes, key, text;
    if (!reader.ReadTag(&field, &wire_type) || wire_type != kBytes || !reader.ReadBytes(&bytes)) return false;
    if (field == kId) {
      *id = bytes;
    } else if (field == kParameters) {
      uint32_t kind;
      if (!ReadParameter(bytes, &key, &text, &kind)) return false;
      if (key == kSignatureParameter && kind == kTextParameter) {
        *signature = text;
      } else if ((key != kRequestBinary || kind != kBoolParameter) &&
                 std::find(std::begin(kHints), std::end(kHints), key) == std::end(kHints)) {
        return false;
      }
    } else if (field == kRaw) {
      *raw = true;
    }
  }
  return true;
}

uint64_t RawBytes(const OutputTensor& tensor) {
  if (tensor.dtype != kString) return static_cast<uint64_t>(tensor.count) * ElementBytes(tensor.dtype);
  uint64_t bytes = 0;
  for (std::string_view text : tensor.strings) bytes += kStringLengthBytes + text.size();
  return bytes;
}

uint64_t DimsBytes(const OutputTensor& tensor) {
  uint64_t bytes = 0;
  for (int64_t size : tensor.dims) bytes += MessageWriter::VarintBytes(static_cast<uint64_t>(size));
  return bytes;
}

uint64_t OutputBytes(const TensorSlot& slot, const OutputTensor& tensor) {
  uint64_t bytes = MessageWriter::BytesFieldBytes(kTensorName, slot.alias.size()) +
                   MessageWriter::BytesFieldBytes(kDatatype, NameOf(tensor.dtype).size());
  if (!tensor.dims.empty()) bytes += MessageWriter::BytesFieldBytes(kTensorShape, DimsBytes(tensor));
  return bytes;
}

}  // namespace

bool PeekInferTarget(std::string_view request, InferTarget* target) {
  *target = {};
  FieldReader reader(request);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    std::string_view bytes;
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (wire_type != kBytes) {
      if (!reader.Skip(wire_type)) return false;
      continue;
    }
    if (!reader.ReadBytes(&bytes)) return false;
    if (field == kName) target->model = bytes;
    if (field == kVersion) target->version = bytes;
  }
  return true;
}

bool DecodeInfer(const std::vector<std::unique_ptr<Signature>>& signatures, std::string_view data,
                 uint64_t tensor_bytes_max, PredictRequest* request) {
  std::string_view signature, id;
  bool raw = false;
  if (!ReadHead(data, &signature, &id, &raw) || !request->Begin(signatures, signature)) return false;
  request->wire = Wire::kOpenInference;
  request->id = id;
  uint64_t budget = tensor_bytes_max;
  std::vector<TensorMessage*> in_order;  // the inputs as they were sent, which the raw contents follow
  size_t next_raw = 0;
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    std::string_view bytes, name;
    if (!reader.ReadTag(&field, &wire_type) || !reader.ReadBytes(&bytes)) return false;
    if (field == kInputs) {
      bool has_contents = false;
      if (!ReadTensorName(bytes, &name)) return false;
      TensorMessage* tensor = request->NextInput(name);
      if (tensor == nullptr || !ReadInput(bytes, tensor, &has_contents) || (raw && has_contents)) return false;
      if (!request->AddInput(tensor, &budget)) return false;
      in_order.push_back(tensor);
    } else if (field == kOutputs) {
      if (!ReadOutput(bytes, &name) || !request->AddOutput(name)) return false;
    } else if (field == kRaw) {
      if (next_raw == in_order.size()) return false;
      in_order[next_raw++]->content = bytes;
    }
  }
  if ((raw && next_raw != in_order.size()) || !request->Finish()) return false;
  for (uint32_t index : request->outputs) {
    if (NameOf(request->signature->outputs[index].dtype).empty()) return false;
  }
  return true;
}

uint64_t InferResponseBytes(const PredictRequest& request, const std::vector<OutputTensor>& outputs,
                            const ResponseStyle& style) {
  uint64_t bytes = MessageWriter::BytesFieldBytes(kName, style.model.size()) +
                   MessageWriter::BytesFieldBytes(kVersion, std::to_string(style.version).size());
  if (!request.id.empty()) bytes += MessageWriter::BytesFieldBytes(kId, request.id.size());
  for (size_t index = 0; index < outputs.size(); ++index) {
    const TensorSlot& slot = request.signature->outputs[request.outputs[index]];
    bytes += MessageWriter::BytesFieldBytes(kResponseOutputs, OutputBytes(slot, outputs[index])) +
             MessageWriter::BytesFieldBytes(kResponseRaw, RawBytes(outputs[index]));
  }
  return bytes;
}

char* WriteInferResponse(const PredictRequest& request, const std::vector<OutputTensor>& outputs,
                         const ResponseStyle& style, char* out) {
  MessageWriter writer(out);
  writer.BytesField(kName, style.model);
  writer.BytesField(kVersion, std::to_string(style.version));
  if (!request.id.empty()) writer.BytesField(kId, request.id);
  for (size_t index = 0; index < outputs.size(); ++index) {
    const OutputTensor& tensor = outputs[index];
    const TensorSlot& slot = request.signature->outputs[request.outputs[index]];
    writer.BytesHeader(kResponseOutputs, OutputBytes(slot, tensor));
    writer.BytesField(kTensorName, slot.alias);
    writer.BytesField(kDatatype, NameOf(tensor.dtype));
    if (tensor.dims.empty()) continue;
    writer.BytesHeader(kTensorShape, DimsBytes(tensor));
    for (int64_t size : tensor.dims) writer.Varint(static_cast<uint64_t>(size));
  }
  for (const OutputTensor& tensor : outputs) {
    const uint64_t bytes = RawBytes(tensor);
    writer.BytesHeader(kResponseRaw, bytes);
    if (tensor.dtype != kString) {
      writer.Raw(std::string_view(tensor.data, bytes));
      continue;
    }
    for (std::string_view text : tensor.strings) {
      const auto size = static_cast<uint32_t>(text.size());
      writer.Raw(std::string_view(reinterpret_cast<const char*>(&size), sizeof(size)));
      writer.Raw(text);
    }
  }
  return writer.end();
}

}  // namespace corelane
