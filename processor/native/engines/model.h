// A loaded model that runs without Python, whatever engine runs it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "codec/predict_codec.h"
#include "engines/signature.h"

namespace corelane {

// gRPC codes that a run ends with; kNotCovered is none of them: the session was not made for these inputs, and nothing
// ran. Python's path may know another way.
enum Code : uint32_t {
  kOk = 0,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kResourceExhausted = 8,
  kInternal = 13,
  kNotCovered = 1 << 16,
};

// One input of a run: the tensors of one request, or of several, one after another along the first axis.
struct InputPart {
  const TensorMessage* tensor;
  int64_t count;  // its elements
};

// What one session needs to run a model: its tensors.
//
// Thread safety: none; one session, one thread. Sessions of a model run at the same time.
class ModelSession {
 public:
  virtual ~ModelSession() = default;

  // Takes a signature's input over from requests, whose bytes stay until the run has ended. `dims` are those of all parts
  // together. False if the values do not fit, and then the run cannot be.
  virtual bool SetInput(const Signature& signature, uint32_t index, const std::vector<int64_t>& dims,
                        const std::vector<InputPart>& parts) = 0;

  // Runs the inputs set. kOk, kNotCovered, or the code of the failure with its message.
  // std::bad_alloc if there is no memory for it.
  virtual Code Run(const Signature& signature, const std::vector<uint32_t>& outputs, std::string* message) = 0;

  // One of the `outputs` of the last run. Views last until Reset. False for a type that cannot be sent.
  virtual bool Output(size_t position, OutputTensor* output) = 0;

  // Lets go of the run's tensors.
  virtual void Reset() = 0;

  // Lets go of what is kept for runs of the size that the largest had. Between two runs.
  virtual void GiveBack() {}
};

// Thread safety: MakeSession from any thread, once the model is loaded.
class Model {
 public:
  virtual ~Model() = default;

  virtual const std::vector<std::unique_ptr<Signature>>& signatures() const = 0;

  // Scratch for one more session; the variables are the model's. Lives no longer than the model.
  virtual std::unique_ptr<ModelSession> MakeSession() = 0;
};

}  // namespace corelane
