#include "channel/gateway_end.h"

#include <algorithm>
#include <climits>

#include "channel/futex.h"

namespace corelane {

void Cancellation::Cancel() {
  cancelled_.store(true);
  std::lock_guard<std::mutex> lock(mutex_);
  if (channel_ != nullptr) channel_->Poke(slot_);
}

void Cancellation::Attach(const SharedChannel* channel, uint32_t slot) {
  std::lock_guard<std::mutex> lock(mutex_);
  channel_ = channel;
  slot_ = slot;
}

void Cancellation::Detach() { Attach(nullptr, 0); }

CallResult::CallResult(const SharedChannel* channel, uint32_t slot, SlotWord word)
    : end_(CallEnd::kAnswered), channel_(channel), slot_(slot), word_(word) {
  const SlotDescription& description = channel->description(slot);
  code_ = description.code;
  payload_bytes_ = std::min(description.response_bytes, channel->message_bytes_max());
}

CallResult::CallResult(CallResult&& other) noexcept
    : end_(other.end_), code_(other.code_), payload_bytes_(other.payload_bytes_), channel_(other.channel_),
      slot_(other.slot_), word_(other.word_) {
  other.channel_ = nullptr;
}

CallResult::~CallResult() {
  if (channel_ != nullptr) channel_->Free(slot_, word_);
}

// One request in its slot. Belongs to the thread that calls.
class WaitingCall {
 public:
  WaitingCall(const SharedChannel& channel, uint32_t slot, SlotWord claimed, Cancellation* cancellation)
      : channel_(channel), slot_(slot), word_(claimed), cancellation_(cancellation) {
    cancellation_->Attach(&channel, slot);
  }
  ~WaitingCall() { cancellation_->Detach(); }

  // Writes the request into the claimed slot and queues it. False, and the slot is free, if there is no memory for it.
  bool Queue(CallKind kind, std::string_view request, int64_t deadline_ns) {
    SlotDescription& description = channel_.description(slot_);
    description.signal.store(0);
    description.kind = kind;
    description.deadline_ns = deadline_ns;
    description.request_bytes = request.size();
    description.response_bytes = 0;
    CORELANE_STEP();
    if (!channel_.WriteRequest(slot_, request)) {
      channel_.Free(slot_, word_);
      return false;
    }
    CORELANE_STEP();
    description.arrived_ns = MonotonicNs();
    give_up_ns_ = description.arrived_ns + std::min(channel_.header().queue_timeout_ns, ChannelOptions::kMaxTimeout);
    deadline_ns_ = deadline_ns;
    ChannelHeader& header = channel_.header();
    const uint64_t ticket = header.next_ticket.fetch_add(1) + 1;
    word_ = {SlotState::kQueued, word_.owner, ticket};
    header.counters.accepted.fetch_add(1, std::memory_order_relaxed);
    CORELANE_STEP();
    channel_.word(slot_).store(word_.Bits());
    CORELANE_STEP();
    header.work.fetch_add(1);
    CORELANE_STEP();
    if (header.sleepers.load() == 0) return true;
    const uint32_t lanes = header.lanes.load();
    if (lanes == 0) {
      FutexWake(&header.work, 1);
    } else {
      FutexWake(&header.work, INT_MAX, uint32_t{1} << (ticket % lanes % 32));
    }
    return true;
  }

  CallResult Wait() {
    std::atomic<uint32_t>& signal = channel_.description(slot_).signal;
    while (true) {
      const SlotWord seen = SlotWord::Of(channel_.word(slot_).load());
      if (seen.owner != word_.owner || seen.ticket != word_.ticket) return CallResult(CallEnd::kLost);
      if (seen.state == SlotState::kAnswered) return CallResult(&channel_, slot_, seen);
      const bool queued = seen.state == SlotState::kQueued;
      const int64_t now_ns = MonotonicNs();
      CallEnd end;
      if (channel_.header().phase.load() == kDead) {
        // An answer may have come between the two looks; there will be no further one.
        if (SlotWord::Of(channel_.word(slot_).load()).state == SlotState::kAnswered) continue;
        return CallResult(CallEnd::kLost);
      } else if (cancellation_->cancelled()) {
        end = CallEnd::kCancelled;
      } else if (now_ns >= deadline_ns_) {
        end = CallEnd::kDeadline;
      } else if (queued && now_ns >= give_up_ns_) {
        end = CallEnd::kQueueTimeout;
      } else {
        uint32_t nothing = 0;
        if (signal.compare_exchange_strong(nothing, 1)) {
          FutexWait(&signal, 1, queued ? std::min(deadline_ns_, give_up_ns_) : deadline_ns_);
        }
        signal.store(0);
        continue;
      }
      if (Withdraw(seen, end)) return CallResult(end);
    }
  }

 private:
  // Leaves the slot without an answer. False if it has changed meanwhile: look again.
  bool Withdraw(SlotWord seen, CallEnd end) {
    if (seen.state != SlotState::kQueued) return channel_.Move(slot_, seen, SlotState::kAbandoned);
    if (!channel_.Free(slot_, seen)) return false;
    ChannelCounters& counters = channel_.header().counters;
    (end == CallEnd::kCancelled ? counters.cancelled : counters.expired).fetch_add(1);
    return true;
  }

  const SharedChannel& channel_;
  const uint32_t slot_;
  SlotWord word_;
  Cancellation* const cancellation_;
  int64_t deadline_ns_ = 0;
  int64_t give_up_ns_ = 0;
};

namespace {

constexpr uint32_t kCancelledCode = 1, kInvalidArgumentCode = 3, kDeadlineCode = 4, kExhaustedCode = 8;

uint32_t CodeOf(const CallResult& result) {
  switch (result.end()) {
    case CallEnd::kAnswered: return result.code();
    case CallEnd::kFull:
    case CallEnd::kNoMemory: return kExhaustedCode;
    case CallEnd::kTooLarge: return kInvalidArgumentCode;
    case CallEnd::kCancelled: return kCancelledCode;
    default: return kDeadlineCode;
  }
}

void CountEnd(const SharedChannel& channel, CallKind kind, uint32_t code, int64_t started_ns) {
  CallCounters& calls = channel.header().calls;
  const uint32_t method = std::min(kind.method, kMethods - 1), entry = static_cast<uint32_t>(kind.entry);
  calls.assigned[static_cast<uint32_t>(kind.assignment)].fetch_add(1, std::memory_order_relaxed);
  calls.codes[method][entry][std::min(code, kCodes - 1)].fetch_add(1, std::memory_order_relaxed);
  if (code == 0) calls.latency[method][entry].Add(MonotonicNs() - started_ns);
}

CallResult CallUncounted(const SharedChannel& channel, uint32_t owner, CallKind kind, std::string_view request,
                         int64_t deadline_ns, Cancellation* cancellation) {
  if (request.size() > channel.message_bytes_max()) return CallResult(CallEnd::kTooLarge);
  if (cancellation->cancelled()) return CallResult(CallEnd::kCancelled);
  if (deadline_ns <= MonotonicNs()) return CallResult(CallEnd::kDeadline);
  const SlotWord claimed{SlotState::kClaimed, owner, 0};
  const uint32_t claimable = std::min(channel.header().claimable.load(), channel.slots());
  for (uint32_t slot = 0; slot < claimable; ++slot) {
    uint64_t expected = channel.word(slot).load();
    if (expected != 0) continue;
    CORELANE_STEP();
    if (!channel.word(slot).compare_exchange_strong(expected, claimed.Bits())) continue;
    CORELANE_STEP();
    if (channel.header().phase.load() != kOpen) {
      channel.Free(slot, claimed);
      return CallResult(CallEnd::kLost);
    }
    WaitingCall call(channel, slot, claimed, cancellation);
    if (!call.Queue(kind, request, deadline_ns)) return CallResult(CallEnd::kNoMemory);
    return call.Wait();
  }
  if (channel.header().phase.load() != kOpen) return CallResult(CallEnd::kLost);
  channel.header().counters.rejected.fetch_add(1);
  return CallResult(CallEnd::kFull);
}

}  // namespace

CallResult Call(const SharedChannel& channel, uint32_t owner, CallKind kind, std::string_view request,
                int64_t deadline_ns, Cancellation* cancellation) {
  const int64_t started_ns = MonotonicNs();
  CallResult result = CallUncounted(channel, owner, kind, request, deadline_ns, cancellation);
  if (result.end() != CallEnd::kLost) CountEnd(channel, kind, CodeOf(result), started_ns);
  return result;
}

void CountRefused(const SharedChannel& channel, CallKind kind) {
  channel.header().counters.rejected.fetch_add(1);
  CountEnd(channel, kind, kExhaustedCode, 0);
}

}  // namespace corelane
