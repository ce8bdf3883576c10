// What lies in a channel's shared memory, and who may change it.
//
//     header | a state word for each slot | a description for each slot | for each slot: request area, response area
//
// A slot's state word says everything that must survive a death: what the slot holds, whose it is, and since when. It
// changes by compare-and-swap only, so whoever loses a race knows; there is no lock that a dead process could hold.
//
//     free -> claimed          a gateway, to write its request
//     claimed -> queued        the same gateway, with the next ticket
//     queued -> running        a session
//     running -> answered      that session
//     answered -> free         the gateway, when it has read the answer
//     queued -> free           the gateway, to withdraw the request
//     running -> abandoned     the gateway, when it no longer waits
//     abandoned -> free        the session, when its run ends
//
// When a gateway has died the supervisor takes its transitions for it: any state of its slots to free, but running to
// abandoned. A worker's death ends the channel.
#pragma once

#include <atomic>
#include <cstdint>

#include "channel/histogram.h"

namespace corelane {

enum class SlotState : uint64_t { kFree = 0, kClaimed, kQueued, kRunning, kAnswered, kAbandoned };

// Gateways are numbered from 1 to this.
inline constexpr uint32_t kOwnerMax = 0xfff;

// Bits of a state word: state 4, owner 12, ticket 48. Tickets number the queued requests of a channel: the lowest is the
// oldest, and a word never comes back.
struct SlotWord {
  SlotState state = SlotState::kFree;
  uint32_t owner = 0;
  uint64_t ticket = 0;

  static SlotWord Of(uint64_t bits) {
    return {static_cast<SlotState>(bits & 0xf), static_cast<uint32_t>(bits >> 4 & kOwnerMax), bits >> 16};
  }
  uint64_t Bits() const { return static_cast<uint64_t>(state) | static_cast<uint64_t>(owner) << 4 | ticket << 16; }
  SlotWord With(SlotState next) const { return {next, owner, ticket}; }
};

// How a request came in.
enum class Entry : uint32_t { kGrpc = 0, kRest, kShadow };
inline constexpr uint32_t kEntries = 3;

// Why a request went to this version and not to another of its model.
enum class Assignment : uint32_t { kNamed = 0, kLabelled, kHighest, kSplit, kSticky, kShadowed };
inline constexpr uint32_t kAssignments = 6;

// What a request asks for (numbered in processor/channel/methods.py), and how it came here.
struct CallKind {
  uint32_t method = 0;
  Entry entry = Entry::kGrpc;
  Assignment assignment = Assignment::kNamed;
};
inline constexpr uint32_t kMethods = 8;

// Belongs to the gateway while the slot is claimed, to the session while it runs, to the gateway once it is answered;
// read by all while it is queued. `signal` is anybody's.
struct alignas(64) SlotDescription {
  std::atomic<uint32_t> signal;  // 0: nothing happened; 1: the gateway sleeps on it; 2: something happened
  CallKind kind;
  int64_t deadline_ns;
  int64_t arrived_ns;
  uint64_t request_bytes;
  uint64_t response_bytes;
  uint32_t code;  // of the answer: 0, or a gRPC code, and then the response area holds a message
};
static_assert(sizeof(SlotDescription) == 64);

// Counts since the channel was made. Of the accepted each is, in the end, one of the next four.
struct ChannelCounters {
  std::atomic<uint64_t> accepted;
  std::atomic<uint64_t> answered;
  std::atomic<uint64_t> failed;     // the answer was an error
  std::atomic<uint64_t> expired;    // its deadline, or the time allowed in the queue, passed before it ran
  std::atomic<uint64_t> cancelled;  // nobody waited for it any more
  std::atomic<uint64_t> rejected;   // not accepted: no slot was free
  std::atomic<uint64_t> through_python;  // ran, wholly or in part, under Python's lock
  // Time that sessions spent, on requests that stayed out of Python.
  std::atomic<uint64_t> decode_ns;
  std::atomic<uint64_t> engine_ns;
  std::atomic<uint64_t> encode_ns;
  std::atomic<uint64_t> runs;  // of the engine, for these requests
};

inline constexpr uint32_t kCodes = 17;  // of gRPC

// Calls as the gateways saw them, whatever became of them. Those that lost their worker are counted where they ended.
struct CallCounters {
  std::atomic<uint64_t> assigned[kAssignments];
  std::atomic<uint64_t> codes[kMethods][kEntries][kCodes];
  Histogram latency[kMethods][kEntries];  // of those with an answer: from the gateway's first look to its last
};

// Of one signature. The last that there is room for stands for all that follow.
struct SignatureCounters {
  char name[64];  // ends in a zero; written before the first request
  std::atomic<uint64_t> answered;
  std::atomic<uint64_t> failed;
  Histogram run_time;
};
inline constexpr uint32_t kSignaturesMax = 16;
inline constexpr uint32_t kNoSignature = UINT32_MAX;

enum ChannelPhase : uint32_t { kOpen = 0, kClosed = 1, kDead = 2 };

struct alignas(64) ChannelHeader {
  // Written once, before anybody else maps the memory.
  uint64_t magic;
  uint64_t instance;
  uint64_t slots;
  uint64_t area_bytes;
  uint64_t message_bytes_max;
  int64_t queue_timeout_ns;

  // The worker's to change.
  alignas(64) std::atomic<uint32_t> claimable;  // only so many slots, the first, may be claimed
  std::atomic<uint32_t> lanes;                  // round robin: sessions that are dealt to; 0: all pull from one queue
  std::atomic<uint32_t> phase;                  // kDead is the supervisor's

  alignas(64) std::atomic<uint64_t> next_ticket;

  // Sessions sleep on `work`, which changes whenever a request is queued or a session has something to look at.
  alignas(64) std::atomic<uint32_t> work;
  std::atomic<uint32_t> sleepers;

  alignas(64) ChannelCounters counters;
  alignas(64) Histogram queue_time;  // from arrival to a session
  alignas(64) Histogram run_time;    // on the session, decoding and encoding included
  alignas(64) Histogram total_time;  // from arrival to the answer
  alignas(64) Histogram gate_time;   // sessions' waits for a permit of the pool
  alignas(64) SignatureCounters signatures[kSignaturesMax];
  alignas(64) CallCounters calls;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

inline constexpr uint64_t kChannelMagic = 0x31'6e'61'6c'65'72'6f'63;  // "corelan1"

}  // namespace corelane
