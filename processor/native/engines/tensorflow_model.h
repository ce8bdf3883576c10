// A SavedModel in TensorFlow's graph runtime.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engines/model.h"
#include "engines/tensorflow_api.h"

namespace corelane {

// A tensor's bytes, and what they mean.
struct FetchedTensor {
  int dtype = 0;
  std::vector<int64_t> dims;
  std::string data;                  // numbers
  std::vector<std::string> strings;  // or strings
};

// Thread safety: AddSignature, CopyStrings and Extend before the first session runs, from one thread. Each session's thread runs the
// whole graph itself; all share the variables, and no thread pool.
class TensorFlowModel : public Model {
 public:
  // Loads the graph of `folder` that has these tags, and no others. `config` is a serialized ConfigProto, `run_options` serialized RunOptions for
  // every run. Null, and `error` says why, if it fails.
  static std::unique_ptr<TensorFlowModel> Load(const std::string& library, const std::string& folder,
                                               const std::vector<std::string>& tags, const std::string& config,
                                               const std::string& run_options,
                                               const std::vector<std::string>& op_libraries, std::string* meta_graph,
                                               std::string* error);
  ~TensorFlowModel() override;
  TensorFlowModel(const TensorFlowModel&) = delete;
  TensorFlowModel& operator=(const TensorFlowModel&) = delete;

  // Offers a signature; the names are "operation:index" of its inputs and outputs. False if the graph lacks one of them.
  bool AddSignature(Signature signature, const std::vector<std::string>& input_names,
                    const std::vector<std::string>& output_names);

  // Strings of requests are copied from now on: for a graph that may keep them beyond its run.
  void CopyStrings() { copies_strings_ = true; }

  // Adds nodes (a serialized GraphDef) to the graph. Inputs that name an operation in `given` are the graph's own; no other
  // name may be there already. False, and `error` says why, if TensorFlow refuses.
  bool Extend(const std::string& graph_def, const std::vector<std::string>& given, std::string* error);

  // Runs the graph without inputs; `names` are "operation:index" of tensors of numbers or strings. Empty, and `error` says why, if it
  // fails.
  std::vector<FetchedTensor> Fetch(const std::vector<std::string>& names, std::string* error);

  // A serialized OpList: every op that this process knows.
  std::string Ops() const;

  const std::vector<std::unique_ptr<Signature>>& signatures() const override { return signatures_; }
  std::unique_ptr<ModelSession> MakeSession() override;

 private:
  friend class TensorFlowSession;

  static constexpr int64_t kComputed = -1;

  // Where a signature's tensors are in the graph. An output may be an input's tensor, which TensorFlow refuses to feed and
  // fetch in one run.
  struct Endpoints {
    std::vector<tf::Output> inputs;
    std::vector<tf::Output> outputs;
    std::vector<int64_t> passed;  // of each output, the input that it is, or kComputed
  };

  TensorFlowModel() = default;
  const Endpoints& EndpointsOf(const Signature& signature) const;

  const tf::Api* api_ = nullptr;
  tf::Graph* graph_ = nullptr;
  tf::Session* session_ = nullptr;
  tf::Buffer* run_options_ = nullptr;
  bool copies_strings_ = false;
  std::vector<std::unique_ptr<Signature>> signatures_;
  std::vector<std::unique_ptr<Endpoints>> endpoints_;  // of each signature
};

}  // namespace corelane
