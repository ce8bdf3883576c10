#include "engines/fused_model.h"

#include <algorithm>
#include <cstring>

namespace corelane {
namespace {

// The inputs of a run, as their requests have them.
class RequestFeeds : public Feeds {
 public:
  void Set(const Signature& signature, uint32_t index, const std::vector<int64_t>& dims,
           const std::vector<InputPart>& parts) {
    inputs_.resize(signature.inputs.size());
    inputs_[index].dtype = signature.inputs[index].dtype;
    inputs_[index].dims = dims;
    inputs_[index].parts = parts;
  }

  const std::vector<int64_t>& Dims(uint32_t feed) const override { return inputs_[feed].dims; }
  const std::vector<InputPart>& Parts(uint32_t feed) const { return inputs_[feed].parts; }

  bool Strings(uint32_t feed, std::vector<std::string_view>* out) const override {
    std::string_view* next = Room(feed, out);
    for (const InputPart& part : inputs_[feed].parts) {
      if (!FillStrings(*part.tensor, part.count, [next](int64_t index, std::string_view text) { next[index] = text; })) {
        return false;
      }
      next += part.count;
    }
    return true;
  }

  bool Ints(uint32_t feed, std::vector<int64_t>* out) const override {
    if (inputs_[feed].dtype == kInt64) return Numbers(feed, out);
    // 32 bits each: read into the upper half of their room, and spread from its beginning.
    Room(feed, out);
    int32_t* const narrow = reinterpret_cast<int32_t*>(out->data()) + out->size();
    int32_t* next = narrow;
    for (const InputPart& part : inputs_[feed].parts) {
      if (!FillNumbers(*part.tensor, part.count, next)) return false;
      next += part.count;
    }
    for (size_t index = 0; index < out->size(); ++index) {
      int32_t value;
      std::memcpy(&value, narrow + index, sizeof(value));
      const int64_t wide = value;
      std::memcpy(out->data() + index, &wide, sizeof(wide));
    }
    return true;
  }

  bool Floats(uint32_t feed, std::vector<float>* out) const override { return Numbers(feed, out); }

 private:
  struct Input {
    int32_t dtype = 0;
    std::vector<int64_t> dims;
    std::vector<InputPart> parts;
  };

  template <typename T>
  T* Room(uint32_t feed, std::vector<T>* out) const {
    int64_t count = 0;
    for (const InputPart& part : inputs_[feed].parts) count += part.count;
    out->resize(static_cast<size_t>(count));
    return out->data();
  }

  template <typename T>
  bool Numbers(uint32_t feed, std::vector<T>* out) const {
    T* next = Room(feed, out);
    for (const InputPart& part : inputs_[feed].parts) {
      if (!FillNumbers(*part.tensor, part.count, next)) return false;
      next += part.count;
    }
    return true;
  }

  std::vector<Input> inputs_;
};

}  // namespace

class FusedSession : public ModelSession {
 public:
  explicit FusedSession(const FusedModel* model) : model_(model) {
    for (const FusedPart& part : model->parts_) {
      lanes_.push_back({std::make_unique<ProgramSession>(part.program), part.dense->MakeSession(), {}});
    }
  }

  bool SetInput(const Signature& signature, uint32_t index, const std::vector<int64_t>& dims,
                const std::vector<InputPart>& parts) override {
    feeds_.Set(signature, index, dims, parts);
    return true;
  }

  Code Run(const Signature& signature, const std::vector<uint32_t>& outputs, std::string* message) override {
    size_t index = 0;
    while (model_->signatures_[index].get() != &signature) ++index;
    const FusedPart& part = model_->parts_[index];
    if (!Covers(part)) return RunOriginal(index, outputs, message);
    Lane& lane = lanes_[index];
    if (!lane.program->Run(feeds_, message)) {
      return lane.program->covers_feeds() ? kInvalidArgument : RunOriginal(index, outputs, message);
    }
    const Signature& dense = *part.dense->signatures()[part.dense_signature];
    lane.features.resize(part.inputs.size());
    for (uint32_t position = 0; position < part.inputs.size(); ++position) {
      const FusedPart::DenseInput& input = part.inputs[position];
      const bool fits = input.is_feature ? SetFeature(*lane.program, dense, position, input, &lane)
                                         : lane.dense->SetInput(dense, position, feeds_.Dims(input.index),
                                                                feeds_.Parts(input.index));
      if (!fits) {
        *message = "an input's values cannot be read";
        return kInvalidArgument;
      }
    }
    running_ = lane.dense.get();
    const Code code = running_->Run(dense, outputs, message);
    if (code != kNotCovered) return code;
    Reset();
    return RunOriginal(index, outputs, message);
  }

  bool Output(size_t position, OutputTensor* output) override { return running_->Output(position, output); }

  void Reset() override {
    if (running_ != nullptr) running_->Reset();
    running_ = nullptr;
  }

  void GiveBack() override {
    feeds_ = {};
    bits_ = {};
    for (size_t index = 0; index < lanes_.size(); ++index) {
      lanes_[index].program = std::make_unique<ProgramSession>(model_->parts_[index].program);
      lanes_[index].features = {};
      lanes_[index].dense->GiveBack();
    }
    if (original_ != nullptr) original_->GiveBack();
  }

 private:
  struct Lane {
    std::unique_ptr<ProgramSession> program;
    std::unique_ptr<ModelSession> dense;
    std::vector<TensorMessage> features;  // views of what the program wrote
  };

  // Whether the plan was made for inputs of these shapes, and for such floats. A part without a program is the
  // original's own signature.
  bool Covers(const FusedPart& part) {
    if (part.program->instructions.empty()) return true;
    const std::vector<TensorSlot>& slots = part.signature.inputs;
    for (uint32_t index = 0; index < slots.size(); ++index) {
      if (!slots[index].Accepts(feeds_.Dims(index))) return false;
      if (part.finite_only && slots[index].dtype == kFloat && !IsFinite(index)) return false;
    }
    return true;
  }

  // Of an input of floats; one that cannot be read is left to whoever reads it.
  bool IsFinite(uint32_t index) {
    constexpr uint32_t kExponent = 0x7f800000;
    for (const InputPart& part : feeds_.Parts(index)) {
      const char* bytes = NumbersInPlace(*part.tensor, part.count, alignof(uint32_t));
      if (bytes == nullptr) {
        bits_.resize(static_cast<size_t>(part.count));
        if (!FillNumbers(*part.tensor, part.count, bits_.data())) return true;
        bytes = reinterpret_cast<const char*>(bits_.data());
      }
      const auto* bits = reinterpret_cast<const uint32_t*>(bytes);
      bool finite = true;
      for (int64_t item = 0; item < part.count; ++item) finite &= (bits[item] & kExponent) != kExponent;
      if (!finite) return false;
    }
    return true;
  }

  Code RunOriginal(size_t index, const std::vector<uint32_t>& outputs, std::string* message) {
    const FusedModel::Original* original = model_->original();
    if (original == nullptr) return kNotCovered;
    if (original_ == nullptr) original_ = original->model->MakeSession();
    const FusedModel::OriginalPart& part = original->parts[index];
    const Signature& own = *original->model->signatures()[part.signature];
    for (uint32_t position = 0; position < own.inputs.size(); ++position) {
      const uint32_t feed = part.inputs[position];
      if (!original_->SetInput(own, position, feeds_.Dims(feed), feeds_.Parts(feed))) {
        *message = "an input's values cannot be read";
        return kInvalidArgument;
      }
    }
    fetches_.clear();
    for (uint32_t output : outputs) fetches_.push_back(part.outputs[output]);
    running_ = original_.get();
    return running_->Run(own, fetches_, message);
  }

  bool SetFeature(const ProgramSession& program, const Signature& dense, uint32_t position,
                  const FusedPart::DenseInput& input, Lane* lane) {
    dims_.clear();
    int64_t count = 1;
    for (const auto& [feed, size] : input.dims) {
      dims_.push_back(feed < 0 ? size : feeds_.Dims(static_cast<uint32_t>(feed))[size]);
      if (dims_.back() == FusedPart::kRows) dims_.back() = program.batch();
      if (dims_.back() != FusedPart::kWidth) count *= dims_.back();
    }
    for (int64_t& size : dims_) {
      if (size != FusedPart::kWidth) continue;
      // What the other axes leave of the elements that the program made.
      const int64_t made = program.batch() * program.width(input.index);
      size = count == 0 ? 0 : made / count;
      count *= size;
    }
    if (count != program.batch() * program.width(input.index)) return false;
    TensorMessage& message = lane->features[position];
    message.dtype = dense.inputs[position].dtype;
    const size_t bytes = static_cast<size_t>(count) * ElementBytes(message.dtype);
    if (message.dtype == kFloat) {
      message.content = {reinterpret_cast<const char*>(program.floats(input.index)), bytes};
    } else if (message.dtype == kInt64) {
      message.content = {reinterpret_cast<const char*>(program.ints(input.index)), bytes};
    } else {
      return false;
    }
    parts_.assign(1, {&message, count});
    return lane->dense->SetInput(dense, position, dims_, parts_);
  }

  const FusedModel* const model_;
  RequestFeeds feeds_;
  std::vector<Lane> lanes_;  // by signature
  std::unique_ptr<ModelSession> original_;
  std::vector<uint32_t> fetches_;
  ModelSession* running_ = nullptr;
  std::vector<int64_t> dims_;
  std::vector<InputPart> parts_;
  std::vector<uint32_t> bits_;
};

FusedModel::FusedModel(std::vector<FusedPart> parts) : parts_(std::move(parts)) {
  for (FusedPart& part : parts_) {
    part.signature.Finish();
    signatures_.push_back(std::make_unique<Signature>(part.signature));
    signatures_.back()->Finish();
    signatures_.back()->any_shape = true;
  }
}

namespace {

// Where each of `slots` is among `known`, by alias. False if one is not.
bool FindSlots(const std::vector<TensorSlot>& slots, const std::vector<TensorSlot>& known,
               std::vector<uint32_t>* positions) {
  for (const TensorSlot& slot : slots) {
    const auto same = std::find_if(known.begin(), known.end(), [&](const TensorSlot& other) {
      return other.alias == slot.alias && other.dtype == slot.dtype;
    });
    if (same == known.end()) return false;
    positions->push_back(static_cast<uint32_t>(same - known.begin()));
  }
  return true;
}

}  // namespace

bool FusedModel::SetOriginal(std::shared_ptr<Model> model) {
  auto original = std::make_unique<Original>();
  const auto& known = model->signatures();
  for (const auto& signature : signatures_) {
    OriginalPart part;
    while (part.signature < known.size() && known[part.signature]->name != signature->name) ++part.signature;
    if (part.signature == known.size()) return false;
    const Signature& own = *known[part.signature];
    if (own.inputs.size() != signature->inputs.size() || !FindSlots(own.inputs, signature->inputs, &part.inputs) ||
        !FindSlots(signature->outputs, own.outputs, &part.outputs)) {
      return false;
    }
    original->parts.push_back(std::move(part));
  }
  original->model = std::move(model);
  const std::lock_guard<std::mutex> lock(original_mutex_);
  if (original_owner_ == nullptr) {
    original_owner_ = std::move(original);
    original_.store(original_owner_.get(), std::memory_order_release);
  }
  return true;
}

std::unique_ptr<ModelSession> FusedModel::MakeSession() { return std::make_unique<FusedSession>(this); }

}  // namespace corelane
