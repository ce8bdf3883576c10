// The memory of a channel: made by the supervisor, mapped by gateways and by the worker.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "channel/channel_layout.h"

// A place where a test may kill the process: between any two steps that others can see.
#ifndef CORELANE_STEP
#define CORELANE_STEP()
#endif

namespace corelane {

struct ChannelOptions {
  uint64_t instance = 0;  // told apart from every other channel's by whoever opens it
  uint32_t slots = 0;     // requests that can be in the channel at once, waiting, running and answered
  uint64_t message_bytes_max = 0;
  int64_t queue_timeout_ns = kMaxTimeout;

  static constexpr int64_t kMaxTimeout = INT64_MAX / 4;
};

struct ChannelStatistics {
  uint64_t accepted, answered, failed, expired, cancelled, rejected, queued, running;
  uint64_t through_python, runs, decode_ns, engine_ns, encode_ns;
  std::vector<uint64_t> queue_us, run_us, total_us;  // by HistogramBoundsUs
};

// A histogram as it was at one moment, or nearly.
struct HistogramCounts {
  std::vector<uint64_t> us;  // by HistogramBoundsUs
  uint64_t sum_ns = 0;
};

// What the metrics say beyond ChannelStatistics. Only what is not zero is listed.
struct ChannelDetails {
  struct Codes { uint32_t method, entry, code; uint64_t count; };
  struct Latency { uint32_t method, entry; HistogramCounts counts; };
  struct OfSignature { std::string name; uint64_t answered, failed; HistogramCounts run; };

  std::vector<uint64_t> assigned;  // by Assignment
  std::vector<Codes> codes;
  std::vector<Latency> latency;
  std::vector<OfSignature> signatures;  // all of them
  HistogramCounts queue, run, total, gate;
};

// Thread safety: all methods from any thread and any process that maps the memory.
//
// Invariants: the slots' state words alone decide what a slot holds (channel_layout.h); sizes that stand in the memory are
// checked wherever they are read, because the other side may have written anything there.
class SharedChannel {
 public:
  // Anonymous memory that lives as long as somebody holds it. Null, and `error` says why, if there is none to have.
  static std::unique_ptr<SharedChannel> Create(const ChannelOptions& options, std::string* error);

  // Maps a channel. `with_payload` false leaves the requests and responses out, which take most of the addresses: a worker
  // needs them, all others read and write by the descriptor. Takes the descriptor over. Null if it is not the channel of
  // this instance.
  static std::unique_ptr<SharedChannel> Map(int descriptor, uint64_t instance, bool with_payload, std::string* error);

  ~SharedChannel();
  SharedChannel(const SharedChannel&) = delete;
  SharedChannel& operator=(const SharedChannel&) = delete;

  int descriptor() const { return descriptor_; }
  ChannelHeader& header() const { return *header_; }
  uint32_t slots() const { return slots_; }
  uint64_t message_bytes_max() const { return message_bytes_max_; }
  std::atomic<uint64_t>& word(uint32_t slot) const { return words_[slot]; }
  SlotDescription& description(uint32_t slot) const { return descriptions_[slot]; }
  // Only with payload.
  char* request_area(uint32_t slot) const { return payload_ + slot * 2 * area_bytes_; }
  char* response_area(uint32_t slot) const { return request_area(slot) + area_bytes_; }

  // The same areas through the descriptor, for those without payload: one copy, and no addresses. False if the kernel has
  // no memory for it, or the memory is not what it was.
  bool WriteRequest(uint32_t slot, std::string_view request) const;
  bool ReadResponse(uint32_t slot, char* to, uint64_t size) const;

  // Moves a slot from what it was seen to be. False if it is that no longer.
  bool Move(uint32_t slot, SlotWord seen, SlotState next) const;

  // Gives a slot that is in `seen` back to all, with the memory that a large message took. False if it changed.
  bool Free(uint32_t slot, SlotWord seen) const;

  // Tells the gateway that waits for a slot to look.
  void Poke(uint32_t slot) const;

  // After a gateway has ended, and before its number is used again: takes back what it held. Returns how many slots.
  uint32_t Reclaim(uint32_t owner) const;

  // After the worker has ended: whoever waits is told.
  void MarkDead() const;

  // Nothing more is taken; false once a request is or comes in, which must be served to its end.
  bool CloseIfIdle() const;

  ChannelStatistics Statistics() const;
  ChannelDetails Details() const;

  // Before the first request: the signatures that requests are counted by, in their order.
  void NameSignatures(const std::vector<std::string>& names) const;

  // Empty if all is well; else what is wrong. Exact only while nobody uses the channel.
  std::string CheckIntegrity() const;

 private:
  SharedChannel() = default;
  bool MapMemory(bool with_payload, std::string* error);
  uint64_t RequestOffset(uint32_t slot) const;

  int descriptor_ = -1;
  void* memory_ = nullptr;
  uint64_t mapped_bytes_ = 0;
  uint32_t slots_ = 0;
  uint64_t area_bytes_ = 0;
  uint64_t message_bytes_max_ = 0;
  ChannelHeader* header_ = nullptr;
  std::atomic<uint64_t>* words_ = nullptr;
  SlotDescription* descriptions_ = nullptr;
  char* payload_ = nullptr;
};

}  // namespace corelane
