// ModelInferRequest and ModelInferResponse, KServe's Open Inference Protocol, from and to their bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/predict_codec.h"

namespace corelane {

// What a ModelInferRequest says about the model it wants. Text as it stands on the wire.
struct InferTarget {
  std::string_view model;
  std::string_view version;
};

// Reads the names and nothing else: the cost does not depend on the size of the tensors. False if the bytes are
// malformed.
//
// Thread safety: pure.
bool PeekInferTarget(std::string_view request, InferTarget* target);

// Takes a ModelInferRequest apart, like PredictRequest::Decode. The signature is named by the string parameter
// `signature_name`, else it is the default one. False if it does not fit in any way, or has a parameter that is not known
// to change no answer.
bool DecodeInfer(const std::vector<std::unique_ptr<Signature>>& signatures, std::string_view data,
                 uint64_t tensor_bytes_max, PredictRequest* request);

// Bytes of the ModelInferResponse with these outputs, all in raw_output_contents.
uint64_t InferResponseBytes(const PredictRequest& request, const std::vector<OutputTensor>& outputs,
                            const ResponseStyle& style);

// Writes it to `out`, which has room for InferResponseBytes. Returns the end of what it wrote.
char* WriteInferResponse(const PredictRequest& request, const std::vector<OutputTensor>& outputs,
                         const ResponseStyle& style, char* out);

}  // namespace corelane
