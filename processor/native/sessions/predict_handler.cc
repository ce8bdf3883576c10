#include "sessions/predict_handler.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "channel/futex.h"

namespace corelane {

PredictHandler::PredictHandler(std::shared_ptr<SharedChannel> channel, std::shared_ptr<Model> model,
                               const std::vector<std::string>& signatures,
                               std::shared_ptr<const PredictSettings> settings, Batching batching, Fallback fallback)
    : channel_(std::move(channel)),
      model_(std::move(model)),
      settings_(std::move(settings)),
      batching_(batching),
      fallback_(std::move(fallback)) {
  sessions_.reserve(kSessionsMax);
  channel_->NameSignatures(signatures);
  if (model_ == nullptr) return;
  for (const auto& signature : model_->signatures()) {
    const auto found = std::find(signatures.begin(), signatures.end(), signature->name);
    if (found != signatures.end()) signature->number = static_cast<uint32_t>(found - signatures.begin());
  }
}

void PredictHandler::AddSession(std::shared_ptr<ModelSession> model_session) {
  auto session = std::make_unique<Session>();
  if (model_ != nullptr) {
    session->predict = std::make_unique<PredictSession>(model_, std::move(model_session), settings_);
  }
  sessions_.push_back(std::move(session));
}

void PredictHandler::Handle(uint32_t number, const TakenRequest& first, RequestSource* source) {
  Session* session = sessions_[number].get();
  TakenRequest taken = first;
  bool has_next = true;
  while (has_next) {
    has_next = false;
    if (!IsWanted(taken)) continue;
    if (session->predict == nullptr || !IsNative(taken)) {
      ThroughPython(number, taken);
    } else {
      HandleBatch(number, session, &taken, &has_next, source);
    }
  }
}

bool PredictHandler::IsNative(const TakenRequest& taken) {
  return taken.kind.method == kPredict || taken.kind.method == kInfer;
}

// Whether anybody waits for the answer; answers for good if not.
bool PredictHandler::IsWanted(const TakenRequest& taken) const {
  if (taken.deadline_ns > taken.taken_ns && !IsAbandoned(*channel_, taken)) return true;
  AnswerError(*channel_, taken, AnswerKind::kExpired, kDeadlineExceeded, "the deadline passed while the request waited");
  return false;
}

PredictHandler::Member* PredictHandler::NextMember(Session* session, const TakenRequest& taken) const {
  if (session->used == session->members.size()) session->members.push_back(std::make_unique<Member>());
  Member* member = session->members[session->used].get();
  member->taken = taken;
  const Wire wire = taken.kind.method == kInfer ? Wire::kOpenInference : Wire::kTensorFlow;
  if (!session->predict->Decode(wire, taken.request, &member->request)) return nullptr;
  ++session->used;
  return member;
}

// Runs `taken`, and what may run with it. What was taken and must wait for the next run is left in `taken`.
void PredictHandler::HandleBatch(uint32_t number, Session* session, TakenRequest* taken, bool* has_next,
                                 RequestSource* source) {
  session->used = 0;
  const int64_t started_ns = MonotonicNs();
  Member* first = NextMember(session, *taken);
  if (first == nullptr) {
    ThroughPython(number, *taken);
    return;
  }
  int64_t rows = first->request.rows;
  int64_t waited_ns = 0;
  if (batching_.rows_max > 0 && first->request.signature->batches && rows > 0) {
    const int64_t until_ns = taken->taken_ns + batching_.wait_ns;
    while (rows < batching_.rows_max) {
      const int64_t before_ns = MonotonicNs();
      if (!source->TakeMore(until_ns, taken)) {
        waited_ns += MonotonicNs() - before_ns;
        break;
      }
      waited_ns += MonotonicNs() - before_ns;
      if (!IsWanted(*taken)) continue;
      const Member* member = IsNative(*taken) ? NextMember(session, *taken) : nullptr;
      if (member == nullptr || !PredictSession::RunsWith(first->request, member->request) ||
          rows + member->request.rows > batching_.rows_max) {
        if (member != nullptr) --session->used;
        *has_next = true;
        break;
      }
      rows += member->request.rows;
    }
  }
  RunBatch(number, session, MonotonicNs() - waited_ns - started_ns);
}

void PredictHandler::RunBatch(uint32_t number, Session* session, int64_t decode_ns) {
  session->requests.clear();
  for (size_t index = 0; index < session->used; ++index) session->requests.push_back(&session->members[index]->request);
  Code code;
  const int64_t started_ns = MonotonicNs();
  const auto result = session->predict->Run(session->requests, &code, &session->message);
  const int64_t ran_ns = MonotonicNs();
  if (result == PredictSession::Result::kRan) {
    const int64_t engine_ns = session->predict->engine_started_ns();
    ChannelCounters& counters = channel_->header().counters;
    counters.runs.fetch_add(1, std::memory_order_relaxed);
    counters.decode_ns.fetch_add(static_cast<uint64_t>(decode_ns + engine_ns - started_ns), std::memory_order_relaxed);
    counters.engine_ns.fetch_add(static_cast<uint64_t>(ran_ns - engine_ns), std::memory_order_relaxed);
    for (size_t index = 0; index < session->used; ++index) Respond(session, index, session->members[index]->taken);
    const int64_t done_ns = MonotonicNs();
    session->predict->Reset();
    // Letting go of the tensors is part of having made them.
    counters.decode_ns.fetch_add(static_cast<uint64_t>(MonotonicNs() - done_ns), std::memory_order_relaxed);
    return;
  }
  session->predict->Reset();
  const TakenRequest& taken = session->members[0]->taken;
  if (session->used > 1) {
    // One of them is at fault, or the model is not one to batch: each gets what it would have got alone.
    const size_t count = session->used;
    for (size_t index = 0; index < count; ++index) {
      std::swap(session->members[0], session->members[index]);
      session->used = 1;
      RunBatch(number, session, 0);
    }
  } else if (result == PredictSession::Result::kRefused) {
    ThroughPython(number, taken);
  } else {
    const uint32_t signature = session->members[0]->request.signature->number;
    AnswerError(*channel_, taken, AnswerKind::kFailed, code, session->message, signature);
  }
}

void PredictHandler::Respond(Session* session, size_t index, const TakenRequest& taken) const {
  const int64_t started_ns = MonotonicNs();
  const uint32_t signature = session->members[index]->request.signature->number;
  const uint64_t bytes = session->predict->ResponseBytes(index);
  const uint64_t bytes_max = settings_->style.bytes_max;
  if (bytes > bytes_max) {
    AnswerError(*channel_, taken, AnswerKind::kFailed, kInvalidArgument, TooLargeMessage(bytes, bytes_max), signature);
    return;
  }
  session->predict->Write(index, taken.response);
  channel_->header().counters.encode_ns.fetch_add(static_cast<uint64_t>(MonotonicNs() - started_ns),
                                                  std::memory_order_relaxed);
  Answer(*channel_, taken, AnswerKind::kAnswered, 0, bytes, signature);
}

void PredictHandler::ThroughPython(uint32_t number, const TakenRequest& taken) const {
  channel_->header().counters.through_python.fetch_add(1, std::memory_order_relaxed);
  FallbackAnswer answer = fallback_(number, taken.kind.method, taken.request);
  const size_t bytes = answer.payload.size();
  if (answer.code == 0 && bytes <= channel_->message_bytes_max()) {
    std::memcpy(taken.response, answer.payload.data(), bytes);
    Answer(*channel_, taken, AnswerKind::kAnswered, 0, bytes, answer.signature);
  } else {
    const uint32_t code = answer.code == 0 ? static_cast<uint32_t>(kInternal) : answer.code;
    AnswerError(*channel_, taken, AnswerKind::kFailed, code, answer.payload, answer.signature);
  }
}

}  // namespace corelane
