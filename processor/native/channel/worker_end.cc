#include "channel/worker_end.h"

#include <algorithm>
#include <cstring>

#include "channel/futex.h"

namespace corelane {

bool Take(const SharedChannel& channel, Lane lane, TakenRequest* taken) {
  while (true) {
    uint32_t oldest = 0;
    SlotWord word;
    for (uint32_t slot = 0; slot < channel.slots(); ++slot) {
      const SlotWord seen = SlotWord::Of(channel.word(slot).load(std::memory_order_acquire));
      if (seen.state != SlotState::kQueued) continue;
      if (lane.lanes != 0 && seen.ticket % lane.lanes != lane.lane) continue;
      if (word.state == SlotState::kQueued && word.ticket < seen.ticket) continue;
      oldest = slot;
      word = seen;
    }
    if (word.state != SlotState::kQueued) return false;
    if (!channel.Move(oldest, word, SlotState::kRunning)) continue;
    const SlotDescription& description = channel.description(oldest);
    taken->slot = oldest;
    taken->word = word.With(SlotState::kRunning);
    taken->kind = description.kind;
    taken->deadline_ns = description.deadline_ns;
    taken->arrived_ns = description.arrived_ns;
    taken->taken_ns = MonotonicNs();
    taken->request = std::string_view(channel.request_area(oldest),
                                      std::min(description.request_bytes, channel.message_bytes_max()));
    taken->response = channel.response_area(oldest);
    channel.header().queue_time.Add(taken->taken_ns - taken->arrived_ns);
    return true;
  }
}

uint32_t QueuedCount(const SharedChannel& channel, Lane lane) {
  uint32_t count = 0;
  for (uint32_t slot = 0; slot < channel.slots(); ++slot) {
    const SlotWord seen = SlotWord::Of(channel.word(slot).load(std::memory_order_acquire));
    count += seen.state == SlotState::kQueued && (lane.lanes == 0 || seen.ticket % lane.lanes == lane.lane);
  }
  return count;
}

bool IsAbandoned(const SharedChannel& channel, const TakenRequest& taken) {
  return channel.word(taken.slot).load() != taken.word.Bits();
}

void Answer(const SharedChannel& channel, const TakenRequest& taken, AnswerKind kind, uint32_t code,
            uint64_t response_bytes, uint32_t signature) {
  ChannelHeader& header = channel.header();
  SlotDescription& description = channel.description(taken.slot);
  description.code = code;
  description.response_bytes = response_bytes;
  const int64_t now_ns = MonotonicNs();
  ChannelCounters& counters = header.counters;
  std::atomic<uint64_t>& ended = kind == AnswerKind::kAnswered ? counters.answered
                                 : kind == AnswerKind::kFailed ? counters.failed
                                                               : counters.expired;
  // Counted first, so that whoever has an answer finds it counted.
  ended.fetch_add(1);
  if (kind == AnswerKind::kAnswered) {
    header.run_time.Add(now_ns - taken.taken_ns);
    header.total_time.Add(now_ns - taken.arrived_ns);
  }
  if (signature != kNoSignature) {
    SignatureCounters& counted = header.signatures[std::min(signature, kSignaturesMax - 1)];
    (kind == AnswerKind::kAnswered ? counted.answered : counted.failed).fetch_add(1, std::memory_order_relaxed);
    if (kind == AnswerKind::kAnswered) counted.run_time.Add(now_ns - taken.taken_ns);
  }
  CORELANE_STEP();
  if (!channel.Move(taken.slot, taken.word, SlotState::kAnswered)) {
    // Nobody waits for it any more.
    ended.fetch_sub(1);
    counters.cancelled.fetch_add(1);
    channel.Free(taken.slot, taken.word.With(SlotState::kAbandoned));
    return;
  }
  channel.Poke(taken.slot);
}

void AnswerError(const SharedChannel& channel, const TakenRequest& taken, AnswerKind kind, uint32_t code,
                 std::string_view message, uint32_t signature) {
  const uint64_t size = std::min<uint64_t>(message.size(), channel.message_bytes_max());
  std::memcpy(taken.response, message.data(), size);
  Answer(channel, taken, kind, code, size, signature);
}

}  // namespace corelane
