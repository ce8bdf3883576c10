// A worker's end of a channel: sessions take requests and answer them.
#pragma once

#include <cstdint>
#include <string_view>

#include "channel/shared_channel.h"

namespace corelane {

// A request that a session runs, in its slot. `request` is a view of the slot until it is answered.
struct TakenRequest {
  uint32_t slot = 0;
  SlotWord word;
  CallKind kind;
  int64_t deadline_ns = 0;
  int64_t arrived_ns = 0;
  int64_t taken_ns = 0;
  std::string_view request;
  char* response = nullptr;  // room for SharedChannel::message_bytes_max
};

// Which of the queued requests a session may take: every `lanes`-th ticket from `lane` on; all of them if `lanes` is 0.
struct Lane {
  uint32_t lane = 0;
  uint32_t lanes = 0;
};

// Takes the oldest queued request of the lane. False if none waits.
//
// Thread safety: from any number of threads.
bool Take(const SharedChannel& channel, Lane lane, TakenRequest* taken);

// How many requests of the lane wait.
uint32_t QueuedCount(const SharedChannel& channel, Lane lane);

// Whether the gateway has given a request up that runs.
bool IsAbandoned(const SharedChannel& channel, const TakenRequest& taken);

enum class AnswerKind { kAnswered, kFailed, kExpired };

// Ends a request: `response_bytes` bytes of its response area, which must have been written, are the answer if `code` is
// 0, and the error's message otherwise. `signature` is the number of the one that ran. Wakes the gateway. Once for each
// request taken.
void Answer(const SharedChannel& channel, const TakenRequest& taken, AnswerKind kind, uint32_t code,
            uint64_t response_bytes, uint32_t signature = kNoSignature);

// The same, with the message of an error.
void AnswerError(const SharedChannel& channel, const TakenRequest& taken, AnswerKind kind, uint32_t code,
                 std::string_view message, uint32_t signature = kNoSignature);

}  // namespace corelane
