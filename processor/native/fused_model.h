// A model whose features are a program and whose dense part is another engine's model.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model.h"
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
};

// Thread safety: that of the dense models; programs and tables are only read.
class FusedModel : public Model {
 public:
  explicit FusedModel(std::vector<FusedPart> parts);

  const std::vector<std::unique_ptr<Signature>>& signatures() const override { return signatures_; }
  std::unique_ptr<ModelSession> MakeSession() override;

 private:
  friend class FusedSession;

  std::vector<FusedPart> parts_;
  std::vector<std::unique_ptr<Signature>> signatures_;
};

}  // namespace corelane
