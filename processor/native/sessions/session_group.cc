#include "sessions/session_group.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <set>
#include <utility>

#include "channel/futex.h"

namespace corelane {
namespace {

void PinTo(pthread_t thread, const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus) CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread, sizeof(set), &set);
}

Lane LaneOf(uint64_t bits) { return {static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)}; }

// Sleeps until something is queued in the lane, or `until_ns`. `seen` is what `work` was before the last look.
void WaitForWork(const SharedChannel& channel, uint32_t seen, Lane lane, int64_t until_ns) {
  ChannelHeader& header = channel.header();
  header.sleepers.fetch_add(1);
  FutexWait(&header.work, seen, until_ns, lane.lanes == 0 ? kAnyLane : uint32_t{1} << (lane.lane % 32));
  header.sleepers.fetch_sub(1);
}

}  // namespace

bool RequestSource::TakeMore(int64_t until_ns, TakenRequest* taken) {
  while (true) {
    const uint32_t seen = channel_.header().work.load();
    if (Take(channel_, lane_, taken)) return true;
    if (MonotonicNs() >= until_ns) return false;
    WaitForWork(channel_, seen, lane_, until_ns);
  }
}

SessionGroup::SessionGroup(std::shared_ptr<SharedChannel> channel, std::shared_ptr<RequestHandler> handler,
                           uint32_t capacity, bool round_robin, std::vector<int> allowed, uint32_t cores_max,
                           std::shared_ptr<PoolGate> gate, uint32_t member)
    : channel_(std::move(channel)),
      handler_(std::move(handler)),
      capacity_(capacity),
      round_robin_(round_robin),
      allowed_(std::move(allowed)),
      cores_max_(cores_max),
      gate_(std::move(gate)),
      member_(member),
      run_since_ns_(channel_->slots()) {}

SessionGroup::~SessionGroup() { Stop(); }

std::string SessionGroup::Place(const std::vector<SessionPlacement>& sessions, bool shares) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::string problem = Check(sessions);
  if (!problem.empty()) return problem;
  shares_.store(shares && gate_ != nullptr);
  Apply(sessions);
  return "";
}

std::string SessionGroup::Check(const std::vector<SessionPlacement>& sessions) const {
  if (capacity_ + sessions.size() > channel_->slots()) {
    return "the channel has no slots for " + std::to_string(sessions.size()) + " sessions and a queue of " +
           std::to_string(capacity_);
  }
  std::set<int> used;
  for (const SessionPlacement& session : sessions) {
    for (int cpu : session.cpus) {
      if (cpu < 0 || cpu >= CPU_SETSIZE || std::find(allowed_.begin(), allowed_.end(), cpu) == allowed_.end()) {
        return "core " + std::to_string(cpu) + " is not one that this process may use";
      }
      used.insert(cpu);
    }
  }
  if (used.size() > cores_max_) {
    return "sessions are pinned to " + std::to_string(used.size()) + " cores; this process may use " +
           std::to_string(cores_max_);
  }
  return "";
}

void SessionGroup::Apply(const std::vector<SessionPlacement>& sessions) {
  const auto awake = static_cast<uint64_t>(
      std::count_if(sessions.begin(), sessions.end(), [](const SessionPlacement& session) { return !session.paused; }));
  const uint64_t lanes = round_robin_ ? awake : 0;
  std::vector<std::unique_ptr<Session>> leaving;
  while (sessions_.size() > sessions.size()) {
    leaving.push_back(std::move(sessions_.back()));
    sessions_.pop_back();
    leaving.back()->state.store(kEnded);
    leaving.back()->takes_none.store(true);
  }
  uint64_t lane = 0;
  channel_->header().claimable.store(capacity_ + static_cast<uint32_t>(sessions.size()));
  channel_->header().lanes.store(static_cast<uint32_t>(lanes));
  for (size_t number = 0; number < sessions.size(); ++number) {
    const bool is_new = number == sessions_.size();
    if (is_new) sessions_.push_back(std::make_unique<Session>());
    Session* session = sessions_[number].get();
    const bool moved = is_new || session->placement.cpus != sessions[number].cpus;
    session->placement = sessions[number];
    session->lane.store(sessions[number].paused ? 0 : lane++ | lanes << 32);
    session->state.store(sessions[number].paused ? kPaused : kRunning);
    session->takes_none.store(sessions[number].paused || !shares_.load());
    if (is_new) {
      session->number = static_cast<uint32_t>(number);
      session->thread = std::thread([this, session] { Run(session); });
      while (session->thread_number.load() == 0) FutexWait(&session->thread_number, 0, kForever);
    }
    if (moved) {
      PinTo(session->thread.native_handle(), session->placement.cpus.empty() ? allowed_ : session->placement.cpus);
    }
  }
  for (const auto& session : leaving) FutexWakeAll(&session->state);
  WakeAll();
  for (const auto& session : leaving) session->thread.join();
}

void SessionGroup::WakeAll() {
  for (const auto& session : sessions_) FutexWakeAll(&session->state);
  channel_->header().work.fetch_add(1);
  FutexWakeAll(&channel_->header().work);
  if (gate_ != nullptr) gate_->Wake(member_);
}

std::vector<SessionReport> SessionGroup::Sessions() const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<SessionReport> reports;
  for (const auto& session : sessions_) {
    SessionReport report{session->placement, static_cast<int>(session->thread_number.load()), 0};
    clockid_t clock;
    timespec used;
    if (pthread_getcpuclockid(session->thread.native_handle(), &clock) == 0 && clock_gettime(clock, &used) == 0) {
      report.cpu_ns = static_cast<int64_t>(used.tv_sec) * 1'000'000'000 + used.tv_nsec;
    }
    reports.push_back(std::move(report));
  }
  return reports;
}

int64_t SessionGroup::LongestRunNs() const {
  const int64_t now_ns = MonotonicNs();
  int64_t longest_ns = 0;
  for (const std::atomic<int64_t>& since_ns : run_since_ns_) {
    const int64_t began_ns = since_ns.load(std::memory_order_relaxed);
    if (began_ns != 0) longest_ns = std::max(longest_ns, now_ns - began_ns);
  }
  return longest_ns;
}

void SessionGroup::Handle(Session* session, Lane lane, const TakenRequest& taken, int64_t now_ns) {
  run_since_ns_[session->number].store(now_ns, std::memory_order_relaxed);
  RequestSource source(*channel_, lane);
  handler_->Handle(session->number, taken, &source);
  run_since_ns_[session->number].store(0, std::memory_order_relaxed);
}

void SessionGroup::Stop() { Place({}, false); }

void SessionGroup::Run(Session* session) {
  // Its own name needs no file in /proc, which a contained process may not write.
  pthread_setname_np(pthread_self(), ("session-" + std::to_string(session->number)).c_str());
  session->thread_number.store(static_cast<uint32_t>(gettid()));
  FutexWakeAll(&session->thread_number);
  TakenRequest taken;
  while (true) {
    const uint32_t seen = channel_->header().work.load();
    const uint32_t state = session->state.load();
    if (state == kEnded) return;
    if (state == kPaused) {
      FutexWait(&session->state, kPaused, kForever);
      continue;
    }
    const Lane lane = LaneOf(session->lane.load());
    if (shares_.load()) {
      RunShared(session, seen, lane, &taken);
    } else if (Take(*channel_, lane, &taken)) {
      Handle(session, lane, taken, MonotonicNs());
    } else {
      WaitForWork(*channel_, seen, lane, kForever);
    }
  }
}

// One request at most, with a permit. It stays in the channel until there is one: there it may expire, or be withdrawn.
void SessionGroup::RunShared(Session* session, uint32_t seen, Lane lane, TakenRequest* taken) {
  const uint32_t queued = QueuedCount(*channel_, lane);
  // Where all pull from one queue, each that waits at the gate will take one: no more need to go there than requests.
  if (queued == 0 || (lane.lanes == 0 && queued <= gate_->Waiting(member_))) {
    WaitForWork(*channel_, seen, lane, kForever);
    return;
  }
  const int64_t asked_ns = MonotonicNs();
  const int permit = gate_->Enter(member_, session->takes_none);
  if (permit < 0) return;
  const int64_t started_ns = MonotonicNs();
  channel_->header().gate_time.Add(started_ns - asked_ns);
  if (Take(*channel_, lane, taken)) Handle(session, lane, *taken, started_ns);
  gate_->Leave(member_, permit, MonotonicNs() - started_ns);
}

}  // namespace corelane
