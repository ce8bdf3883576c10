// A SessionGroup: session threads that pull requests from one channel.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "sessions/pool_gate.h"
#include "channel/shared_channel.h"
#include "channel/worker_end.h"

namespace corelane {

// Where a session takes further requests from, to run them with the one it has.
//
// Thread safety: none; it is the session's own.
class RequestSource {
 public:
  RequestSource(const SharedChannel& channel, Lane lane) : channel_(channel), lane_(lane) {}

  // The next request of this session's lane, waiting for it until `until_ns` (monotonic). False if none came.
  bool TakeMore(int64_t until_ns, TakenRequest* taken);

 private:
  const SharedChannel& channel_;
  const Lane lane_;
};

// What a session does with requests.
class RequestHandler {
 public:
  virtual ~RequestHandler() = default;

  // Answers `first`, and whatever it takes from `source`, once each. On session `session`'s thread; other sessions are in
  // here at the same time.
  virtual void Handle(uint32_t session, const TakenRequest& first, RequestSource* source) = 0;
};

// What a session should be.
struct SessionPlacement {
  std::vector<int> cpus;  // it runs on these only; empty: wherever the process may
  bool paused = false;    // takes nothing, and holds up nothing
};

struct SessionReport {
  SessionPlacement placement;
  int thread = 0;         // its number, as the kernel knows it
  int64_t cpu_ns = 0;     // that it has used
};

// Thread safety: all methods from any thread. Guarded by mutex_: sessions_. The threads themselves share atomics only.
//
// Invariants: a request is taken by one session; a session runs one request, or one batch, at a time; a session that is
// removed or paused finishes what it has.
class SessionGroup {
 public:
  // `capacity` requests may wait beyond those that the sessions run. `allowed` are the cores that sessions may be pinned
  // to, of which they use at most `cores_max`. `gate` is the pool's, where this group is `member`; it may be null.
  SessionGroup(std::shared_ptr<SharedChannel> channel, std::shared_ptr<RequestHandler> handler, uint32_t capacity,
               bool round_robin, std::vector<int> allowed, uint32_t cores_max, std::shared_ptr<PoolGate> gate,
               uint32_t member);
  ~SessionGroup();
  SessionGroup(const SessionGroup&) = delete;
  SessionGroup& operator=(const SessionGroup&) = delete;

  // Makes the sessions be these: starts, ends, pauses, wakes and pins what must be. `shares`: every run of a request
  // takes a permit of the gate. Empty, or what is wrong with them, and then nothing has changed. Returns when a session
  // that goes has finished what it runs.
  std::string Place(const std::vector<SessionPlacement>& sessions, bool shares);

  std::vector<SessionReport> Sessions() const;

  // How long the longest of the runs under way has taken; 0 if there is none. Never waits for a session.
  int64_t LongestRunNs() const;

  // Ends all sessions, each after what it runs. What still waits in the channel stays there.
  void Stop();

 private:
  enum State : uint32_t { kRunning, kPaused, kEnded };
  struct Session {
    uint32_t number = 0;
    std::atomic<uint32_t> state{kRunning};
    std::atomic<uint64_t> lane{0};  // lane, and lanes << 32
    std::atomic<uint32_t> thread_number{0};
    std::atomic<bool> takes_none{false};  // whatever waits at the gate comes back
    SessionPlacement placement;  // guarded by mutex_
    std::thread thread;
  };

  std::string Check(const std::vector<SessionPlacement>& sessions) const;
  void Apply(const std::vector<SessionPlacement>& sessions);
  void Run(Session* session);
  void RunShared(Session* session, uint32_t seen, Lane lane, TakenRequest* taken);
  void Handle(Session* session, Lane lane, const TakenRequest& taken, int64_t now_ns);
  void WakeAll();

  const std::shared_ptr<SharedChannel> channel_;
  const std::shared_ptr<RequestHandler> handler_;
  const uint32_t capacity_;
  const bool round_robin_;
  const std::vector<int> allowed_;
  const uint32_t cores_max_;
  const std::shared_ptr<PoolGate> gate_;
  const uint32_t member_;
  std::atomic<bool> shares_{false};
  std::vector<std::atomic<int64_t>> run_since_ns_;  // by the session's number; 0: it runs nothing

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Session>> sessions_;
};

}  // namespace corelane
