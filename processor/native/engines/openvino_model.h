// A model compiled by OpenVINO for the CPU.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engines/model.h"
#include "engines/openvino_api.h"
#include "engines/range_check.h"

namespace corelane {

// Thread safety: immutable once loaded. One compiled model holds the weights; a session is an infer request, and runs on
// the thread that asks it to.
//
// Inputs and outputs are in the order of the model's ports.
//
// OpenVINO skips what has no elements to work on, and with it what that would have written (the best of no rows, say): an
// output then has what an earlier run left there. So a run with an input without elements is kNotCovered, unless all its
// outputs are without elements, too.
// A run that OpenVINO refuses leaves the graph with shapes of its own for some nodes, and they stay while inputs have the
// shapes of the last run that went well: those are not looked at again. So a run of other shapes follows every one that
// fails (Cleanse). With a single stream of one thread OpenVINO forgets the error, and calls an earlier run's outputs this
// one's: no model has that.
class OpenVinoModel : public Model {
 public:
  // `properties` are names and values for the CPU plugin. A run whose integers fail one of the `checks`, or
  // that has an input without elements where the op that `needs_elements` names is not empty, is kInvalidArgument, and
  // never reaches OpenVINO. Null, and `error` says why, if the load fails.
  static std::unique_ptr<OpenVinoModel> Load(const std::string& library, const std::string& file,
                                             const std::vector<std::pair<std::string, std::string>>& properties,
                                             Signature signature, std::vector<RangeCheck> checks,
                                             std::string needs_elements, std::string* error);
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
  // Whether a string tensor holds objects that are our std::string. If not, LastError may have no words.
  bool HasOurStrings(int type) const;

  const ov::Api* api_ = nullptr;
  ov::Core* core_ = nullptr;
  ov::CompiledModel* compiled_ = nullptr;
  std::vector<int> input_types_;  // OpenVINO's numbers of the inputs' element types
  std::vector<RangeCheck> checks_;
  std::string needs_elements_;
  std::vector<std::unique_ptr<Signature>> signatures_;
};

}  // namespace corelane
