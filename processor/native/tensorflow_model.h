// A SavedModel in TensorFlow's graph runtime, called with the bytes of PredictRequests.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tensorflow_api.h"

namespace corelane {

// One input or output of a signature.
struct TensorSlot {
  std::string alias;
  int32_t dtype = 0;
  bool rank_known = true;
  std::vector<int64_t> dims;  // -1: any size
  tf::Output output{nullptr, 0};
};

struct ModelSignature {
  std::string name;
  std::vector<TensorSlot> inputs;
  std::vector<TensorSlot> outputs;
  std::unordered_map<std::string_view, size_t> input_index;  // views of the aliases above
};

// Thread safety: AddSignature before the first Predict, from one thread; then Predict from any number of threads at once,
// each of which runs the whole graph itself and shares the variables.
//
// Invariant: signatures_ does not change once Predict is called; the views in input_index point into it.
class TensorFlowModel {
 public:
  enum class Result {
    kAnswered,  // `out` is a serialized PredictResponse
    kRefused,   // the request does not fit in some way; whoever knows the words for it should look at it
    kFailed,    // the run failed: `out` is TensorFlow's message, `code` its code
  };

  // Loads the "serve" graph of `folder`. `config` is a serialized ConfigProto. Null, and `error` says why, if it fails.
  static std::unique_ptr<TensorFlowModel> Load(const std::string& library, const std::string& folder,
                                               const std::string& config, const std::vector<std::string>& op_libraries,
                                               std::string* meta_graph, std::string* error);
  ~TensorFlowModel();
  TensorFlowModel(const TensorFlowModel&) = delete;
  TensorFlowModel& operator=(const TensorFlowModel&) = delete;

  // Offers a signature; `engine_names` of the slots are "operation:index". False if the graph lacks one of them.
  bool AddSignature(ModelSignature signature, const std::vector<std::string>& input_names,
                    const std::vector<std::string>& output_names);

  // What Predict puts into every response's model_spec, and how many bytes a request's tensors and a response may take.
  void SetIdentity(std::string model, int64_t version, uint64_t tensor_bytes_max, uint64_t response_bytes_max);

  // Decodes a PredictRequest, runs it on this thread, encodes the PredictResponse. `request` must stay until it returns:
  // strings are views of it. Calls no Python.
  Result Predict(std::string_view request, std::string* out, int* code) const;

 private:
  TensorFlowModel() = default;

  Result Run(const ModelSignature& signature, const std::vector<tf::Tensor*>& inputs,
             const std::vector<const TensorSlot*>& outputs, std::string* out, int* code) const;
  bool Encode(const ModelSignature& signature, const std::vector<const TensorSlot*>& outputs,
              const std::vector<tf::Tensor*>& tensors, std::string* out) const;
  tf::Tensor* MakeTensor(const TensorSlot& slot, const struct TensorMessage& message, uint64_t* budget) const;

  const tf::Api* api_ = nullptr;
  tf::Graph* graph_ = nullptr;
  tf::Session* session_ = nullptr;
  tf::Buffer* run_options_ = nullptr;
  std::vector<std::unique_ptr<ModelSignature>> signatures_;
  std::string model_;
  int64_t version_ = 0;
  uint64_t tensor_bytes_max_ = 0;
  uint64_t response_bytes_max_ = 0;
};

}  // namespace corelane
