// What a worker's sessions do with requests: Predict in C++ where the model can, anything else by Python.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sessions/predict_session.h"
#include "sessions/session_group.h"

namespace corelane {

// Requests that run together, if any: `rows_max` of them in all, waited for at most `wait_ns`. Off if rows_max is 0.
struct Batching {
  int64_t rows_max = 0;
  int64_t wait_ns = 0;
};

// What Python made of a request.
struct FallbackAnswer {
  uint32_t code = 0;
  std::string payload;               // the answer's bytes, or the message of the error `code`
  uint32_t signature = kNoSignature;  // its number
};

// Answers what C++ does not. It may take Python's lock.
using Fallback = std::function<FallbackAnswer(uint32_t session, uint32_t method, std::string_view request)>;

// Thread safety: AddSession before that session's thread starts; Handle from every session's thread at once.
class PredictHandler : public RequestHandler {
 public:
  static constexpr uint32_t kPredict = 1, kInfer = 6;
  static constexpr uint32_t kSessionsMax = 4096;

  // `model` null: everything goes to the fallback. `signatures` are the names of all of the version's, by number.
  PredictHandler(std::shared_ptr<SharedChannel> channel, std::shared_ptr<Model> model,
                 const std::vector<std::string>& signatures, std::shared_ptr<const PredictSettings> settings,
                 Batching batching, Fallback fallback);

  // The next session runs on this one of the model's; null without a model.
  void AddSession(std::shared_ptr<ModelSession> session);

  void Handle(uint32_t session, const TakenRequest& first, RequestSource* source) override;

 private:
  // A request of a batch.
  struct Member {
    TakenRequest taken;
    PredictRequest request;
  };
  struct Session {
    std::unique_ptr<PredictSession> predict;
    std::vector<std::unique_ptr<Member>> members;  // kept, so that their memory is
    size_t used = 0;
    std::vector<const PredictRequest*> requests;
    std::string message;
  };

  static bool IsNative(const TakenRequest& taken);
  bool IsWanted(const TakenRequest& taken) const;
  void HandleBatch(uint32_t number, Session* session, TakenRequest* taken, bool* has_next, RequestSource* source);
  Member* NextMember(Session* session, const TakenRequest& taken) const;
  void RunBatch(uint32_t number, Session* session, int64_t decode_ns);
  void Respond(Session* session, size_t index, const TakenRequest& taken) const;
  void ThroughPython(uint32_t number, const TakenRequest& taken) const;

  const std::shared_ptr<SharedChannel> channel_;
  const std::shared_ptr<Model> model_;
  const std::shared_ptr<const PredictSettings> settings_;
  const Batching batching_;
  const Fallback fallback_;
  std::vector<std::unique_ptr<Session>> sessions_;  // room for kSessionsMax, so that none moves
};

}  // namespace corelane
