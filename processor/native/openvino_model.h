// A model compiled by OpenVINO for the CPU.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model.h"
#include "openvino_api.h"

namespace corelane {

// Thread safety: SetSignature once, before the first session. One compiled model holds the weights; a session is an infer
// request, and runs on the thread that asks it to.
//
// Inputs and outputs are in the order of the model's ports. None of them holds strings.
//
// OpenVINO skips what has no elements to work on, and with it what that would have written (the best of no rows, say): an
// output then has what an earlier run left there. So a run with an input without elements is kNotCovered, unless all its
// outputs are without elements, too.
class OpenVinoModel : public Model {
 public:
  // `properties` are names and values for the CPU plugin. Null, and `error` says why, if it fails.
  static std::unique_ptr<OpenVinoModel> Load(const std::string& library, const std::string& file,
                                             const std::vector<std::pair<std::string, std::string>>& properties,
                                             Signature signature, std::string* error);
  ~OpenVinoModel() override;
  OpenVinoModel(const OpenVinoModel&) = delete;
  OpenVinoModel& operator=(const OpenVinoModel&) = delete;

  const std::vector<std::unique_ptr<Signature>>& signatures() const override { return signatures_; }
  std::unique_ptr<ModelSession> MakeSession() override;

 private:
  friend class OpenVinoSession;

  OpenVinoModel() = default;
  bool Compile(const std::string& file, const std::vector<std::pair<std::string, std::string>>& properties);
  bool ReadTypes();

  const ov::Api* api_ = nullptr;
  ov::Core* core_ = nullptr;
  ov::CompiledModel* compiled_ = nullptr;
  std::vector<int> input_types_;  // OpenVINO's numbers of the inputs' element types
  std::vector<std::unique_ptr<Signature>> signatures_;
};

}  // namespace corelane
