// PredictRequest from its bytes, PredictResponse to its bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engines/signature.h"
#include "codec/tensor_codec.h"

namespace corelane {

// Which protocol a request speaks, and is answered in: TensorFlow Serving's, or KServe's Open Inference Protocol.
enum class Wire : uint32_t { kTensorFlow, kOpenInference };

// A request taken apart; views point into its bytes. Meant to be used again and again: it keeps its memory.
struct PredictRequest {
  Wire wire = Wire::kTensorFlow;
  std::string_view id;  // kOpenInference: what the client calls it
  const Signature* signature = nullptr;
  std::vector<TensorMessage> inputs;  // in the signature's order
  std::vector<int64_t> counts;        // elements of each
  std::vector<uint32_t> outputs;      // which of the signature's outputs to return, in order

  // Size of the first axis, if all inputs have the same and the shapes that the signature says; -1 otherwise.
  int64_t rows = -1;

  // Takes `data` apart and checks it against its signature, which is one of `signatures`; `tensor_bytes_max` bounds what
  // its tensors may take. False if it does not fit in any way: whoever knows the words for it should look at it.
  bool Decode(const std::vector<std::unique_ptr<Signature>>& signatures, std::string_view data,
              uint64_t tensor_bytes_max);

  // What Decode begins and ends with, whatever the wire: forgets the last request; all outputs, if none was chosen. False
  // without such a signature, or if an input is missing.
  bool Begin(const std::vector<std::unique_ptr<Signature>>& signatures, std::string_view name);
  bool Finish();

  // Chooses an output. False if there is none of this name, or it was chosen before.
  bool AddOutput(std::string_view alias);

  // The tensor of an input, to be filled and given to AddInput. Null if there is none of this name, or it was added before.
  TensorMessage* NextInput(std::string_view alias);
  // Checks the tensor against the signature, its shape only if the signature has the last word on shapes, and takes what
  // it needs from the budget.
  bool AddInput(TensorMessage* tensor, uint64_t* budget);

 private:
  // The input that an alias names; requests mostly have them in the order of the last one, where it is looked for first.
  bool FindInput(std::string_view alias, size_t position, uint32_t* index);

  std::vector<bool> present_;
  bool fits_ = true;  // every shape so far is the signature's
  size_t missing_ = 0;
  const Signature* ordered_ = nullptr;  // the signature that order_ is of
  std::vector<uint32_t> order_;         // the input at each position of the last request
};

// A tensor as an engine leaves it.
struct OutputTensor {
  int32_t dtype = 0;
  std::vector<int64_t> dims;
  int64_t count = 0;
  const char* data = nullptr;             // numbers: count * ElementBytes(dtype)
  std::vector<std::string_view> strings;  // strings: count of them

  // The same, of rows `begin` to `end` of the first axis.
  void Slice(int64_t begin, int64_t end, OutputTensor* slice) const;
};

// What responses say of themselves, and how.
struct ResponseStyle {
  std::string model;
  int64_t version = 0;
  bool tensor_content = false;  // numbers as tensor_content instead of *_val
  uint64_t bytes_max = 0;
};

// Bytes of the response with these outputs of the request's signature.
uint64_t ResponseBytes(const PredictRequest& request, const std::vector<OutputTensor>& outputs,
                       const ResponseStyle& style);

// Writes it to `out`, which has room for ResponseBytes. Returns the end of what it wrote.
char* WriteResponse(const PredictRequest& request, const std::vector<OutputTensor>& outputs,
                    const ResponseStyle& style, char* out);

}  // namespace corelane
