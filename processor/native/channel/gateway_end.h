// A gateway's end of a channel: one call, one answer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>

#include "channel/shared_channel.h"

namespace corelane {

// Whether the client still waits for its answer.
//
// Thread safety: all methods from any thread.
class Cancellation {
 public:
  // The client has gone: wakes the call that waits, if one does.
  void Cancel();
  bool cancelled() const { return cancelled_.load(); }

 private:
  friend class WaitingCall;
  void Attach(const SharedChannel* channel, uint32_t slot);
  void Detach();

  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  const SharedChannel* channel_ = nullptr;  // guarded by mutex_, as is slot_
  uint32_t slot_ = 0;
};

enum class CallEnd {
  kAnswered,      // there is an answer: code and payload
  kFull,          // no slot was free
  kTooLarge,      // the request is larger than a message may be
  kNoMemory,      // the system has no memory for the request
  kLost,          // the worker is gone or going; it has not answered and never will
  kQueueTimeout,  // no session took it within the time allowed in the queue
  kDeadline,      // the deadline passed first
  kCancelled,     // the client went first
};

// How a call ended. An answer stays in the channel until this is destroyed, which frees the slot.
class CallResult {
 public:
  explicit CallResult(CallEnd end) : end_(end) {}
  CallResult(const SharedChannel* channel, uint32_t slot, SlotWord word);
  CallResult(CallResult&& other) noexcept;
  CallResult& operator=(CallResult&&) = delete;
  ~CallResult();

  CallEnd end() const { return end_; }
  uint32_t code() const { return code_; }
  uint64_t payload_bytes() const { return payload_bytes_; }
  // Copies the answer out: `payload_bytes` bytes. False if it cannot be read.
  bool Read(char* to) const { return payload_bytes_ == 0 || channel_->ReadResponse(slot_, to, payload_bytes_); }

 private:
  CallEnd end_;
  uint32_t code_ = 0;
  uint64_t payload_bytes_ = 0;
  const SharedChannel* channel_ = nullptr;
  uint32_t slot_ = 0;
  SlotWord word_;
};

// Puts a request into the channel and waits for what becomes of it; the request's bytes are copied once, into the slot.
//
// Thread safety: from any number of threads. `owner` is this gateway's number, of no other process that is alive or has
// not been reclaimed.
CallResult Call(const SharedChannel& channel, uint32_t owner, CallKind kind, std::string_view request,
                int64_t deadline_ns, Cancellation* cancellation);

// Counts a call that the gateway itself refused for want of room.
void CountRefused(const SharedChannel& channel, CallKind kind);

}  // namespace corelane
