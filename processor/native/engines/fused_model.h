// A model whose features are a program and whose dense part is another engine's model.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engines/model.h"
#include "program.h"

namespace corelane {

// One signature of it. The dense model's signature takes, in this order, what `inputs` name.
struct FusedPart {
  static constexpr int64_t kWidth = -2, kRows = -3;

  struct DenseInput {
    bool is_feature = false;
    uint32_t index = 0;         // of the program's outputs, or of the signature's inputs
    // Of a feature, each size: {-1, size}, or {input, axis} for that of an input; one may be {-1, kWidth}, what is left;
    // {-1, kRows} is the batch.
    std::vector<std::pair<int64_t, int64_t>> dims;
  };

  Signature signature;
  std::shared_ptr<const Program> program;
  std::shared_ptr<Model> dense;
  size_t dense_signature = 0;  // which of its signatures
  std::vector<DenseInput> inputs;
  bool finite_only = false;  // NaN and infinities come out of the dense model otherwise than from the original
};

// A plan is made for the shapes that its signatures say, and maybe for finite floats. What does not fit goes to the
// original model, once there is one; before that, a run is kNotCovered.
//
// Thread safety: that of the dense models; programs and tables are only read. SetOriginal from any thread.
class FusedModel : public Model {
 public:
  explicit FusedModel(std::vector<FusedPart> parts);

  const std::vector<std::unique_ptr<Signature>>& signatures() const override { return signatures_; }
  std::unique_ptr<ModelSession> MakeSession() override;

  // The model that the plan was made of. False if it lacks a signature of the plan, or an input or output of one; another
  // original than the first changes nothing.
  bool SetOriginal(std::shared_ptr<Model> model);

 private:
  friend class FusedSession;

  // A signature of the plan in the original: which of its inputs and outputs are which.
  struct OriginalPart {
    size_t signature = 0;
    std::vector<uint32_t> inputs, outputs;
  };
  struct Original {
    std::shared_ptr<Model> model;
    std::vector<OriginalPart> parts;  // by the plan's signatures
  };

  // The original, to whoever sees it; original_owner_ holds it.
  const Original* original() const { return original_.load(std::memory_order_acquire); }

  std::vector<FusedPart> parts_;
  std::mutex original_mutex_;
  std::unique_ptr<const Original> original_owner_;
  std::atomic<const Original*> original_{nullptr};
  std::vector<std::unique_ptr<Signature>> signatures_;
};

}  // namespace corelane
