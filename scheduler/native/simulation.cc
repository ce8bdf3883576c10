#include "simulation.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <queue>
#include <random>

namespace corelane {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Times to 1 %, from 1 us to days.
class Histogram {
 public:
  void Add(double ms) {
    const double step = std::log2(std::max(ms, 1e-3) * 1e3) * kSteps;
    const auto index = std::min(static_cast<size_t>(step), kSize - 1);
    ++counts_[index];
    sum_ += ms;
    ++count_;
  }

  double Quantile(double fraction) const {
    if (count_ == 0) return 0;
    const auto wanted = static_cast<uint64_t>(std::ceil(fraction * static_cast<double>(count_)));
    uint64_t seen = 0;
    for (size_t index = 0; index < kSize; ++index) {
      seen += counts_[index];
      if (seen >= wanted) return std::exp2((static_cast<double>(index) + 0.5) / kSteps) * 1e-3;
    }
    return kNever;
  }

  double Mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

 private:
  static constexpr double kSteps = 70;  // by octave
  static constexpr size_t kSize = 70 * 40;
  std::vector<uint64_t> counts_ = std::vector<uint64_t>(kSize);
  uint64_t count_ = 0;
  double sum_ = 0;
};

// A version's source of requests and the count of what became of them.
class Version {
 public:
  Version(const Arrivals& arrivals, uint64_t seed) : arrivals_(&arrivals), random_(seed) {
    double sum = 0;
    for (const auto& [share, ms] : arrivals.service) {
      sum += share;
      cumulated_.push_back(sum);
    }
    next_ms_ = arrivals.per_ms > 0 ? Gap() : kNever;
  }

  double next_ms() const { return next_ms_; }
  const Arrivals& arrivals() const { return *arrivals_; }

  // Takes the next request: how long it will take.
  double Arrive() {
    next_ms_ += Gap();
    const double drawn = uniform_(random_) * cumulated_.back();
    const auto found = std::lower_bound(cumulated_.begin(), cumulated_.end(), drawn);
    return arrivals_->service[static_cast<size_t>(found - cumulated_.begin())].second;
  }

  void Answered(double arrived_ms, double now_ms, const Span& span) {
    if (arrived_ms < span.warm_up_ms) return;
    const double ms = now_ms - arrived_ms;
    times_.Add(ms);
    ++outcome_.arrived;
    ++outcome_.answered;
    if (arrivals_->slo_ms <= 0 || ms <= arrivals_->slo_ms) ++outcome_.in_time;
  }

  void Refused(double arrived_ms, const Span& span) {
    if (arrived_ms < span.warm_up_ms) return;
    ++outcome_.arrived;
    ++outcome_.refused;
  }

  Outcome Result() const {
    Outcome outcome = outcome_;
    outcome.mean_ms = times_.Mean();
    outcome.p50_ms = times_.Quantile(0.5);
    outcome.p99_ms = times_.Quantile(0.99);
    return outcome;
  }

 private:
  double Gap() { return exponential_(random_) / arrivals_->per_ms; }

  const Arrivals* arrivals_;
  std::mt19937_64 random_;
  std::exponential_distribution<double> exponential_{1.0};
  std::uniform_real_distribution<double> uniform_{0.0, 1.0};
  std::vector<double> cumulated_;
  double next_ms_ = 0;
  Histogram times_;
  Outcome outcome_;
};

std::vector<Version> MakeVersions(const std::vector<Arrivals>& arrivals, uint64_t seed) {
  std::vector<Version> versions;
  for (size_t index = 0; index < arrivals.size(); ++index) {
    versions.emplace_back(arrivals[index], seed * 1000003 + index);
  }
  return versions;
}

std::vector<Outcome> Results(const std::vector<Version>& versions) {
  std::vector<Outcome> results;
  for (const Version& version : versions) results.push_back(version.Result());
  return results;
}

// The version that is next to send a request, by the time of it.
class NextArrival {
 public:
  explicit NextArrival(const std::vector<Version>& versions) {
    for (size_t index = 0; index < versions.size(); ++index) queue_.emplace(versions[index].next_ms(), index);
  }
  double ms() const { return queue_.empty() ? kNever : queue_.top().first; }
  size_t Pop() {
    const size_t index = queue_.top().second;
    queue_.pop();
    return index;
  }
  void Push(double ms, size_t index) { queue_.emplace(ms, index); }

 private:
  using Entry = std::pair<double, size_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
};

}  // namespace

std::vector<Outcome> SimulateSessions(const std::vector<Arrivals>& arrivals, int cores, const Span& span) {
  struct Waiting {
    double arrived_ms, takes_ms;
  };
  struct Running {
    double ends_ms, arrived_ms;
    size_t version;
    bool operator>(const Running& other) const { return ends_ms > other.ends_ms; }
  };
  std::vector<Version> versions = MakeVersions(arrivals, span.seed);
  std::vector<std::deque<Waiting>> queues(versions.size());
  std::vector<double> used(versions.size());  // core time by weight, as virtual time
  double virtual_ms = 0;
  std::priority_queue<Running, std::vector<Running>, std::greater<>> running;
  NextArrival next(versions);
  size_t waiting = 0;
  const double end_ms = span.warm_up_ms + span.ms;

  const auto start = [&](size_t version, const Waiting& request, double now_ms) {
    virtual_ms = std::max(virtual_ms, used[version]);
    used[version] += request.takes_ms / arrivals[version].weight;
    running.push({now_ms + request.takes_ms, request.arrived_ms, version});
  };

  while (true) {
    if (next.ms() > end_ms && running.empty()) break;
    if (next.ms() <= end_ms && (running.empty() || next.ms() <= running.top().ends_ms)) {
      const double now_ms = next.ms();
      const size_t index = next.Pop();
      Version& version = versions[index];
      const Waiting request{now_ms, version.Arrive()};
      next.Push(version.next_ms(), index);
      if (running.size() < static_cast<size_t>(cores)) {
        used[index] = std::max(used[index], virtual_ms);
        start(index, request, now_ms);
      } else if (queues[index].size() >= arrivals[index].waiting_max) {
        version.Refused(now_ms, span);
      } else {
        // Who was idle gets no credit for it.
        if (queues[index].empty()) used[index] = std::max(used[index], virtual_ms);
        queues[index].push_back(request);
        ++waiting;
      }
      continue;
    }
    const Running done = running.top();
    running.pop();
    versions[done.version].Answered(done.arrived_ms, done.ends_ms, span);
    while (waiting > 0) {
      size_t chosen = versions.size();
      for (size_t index = 0; index < versions.size(); ++index) {
        if (!queues[index].empty() && (chosen == versions.size() || used[index] < used[chosen])) chosen = index;
      }
      const Waiting request = queues[chosen].front();
      queues[chosen].pop_front();
      --waiting;
      const double limit_ms = arrivals[chosen].waiting_ms_max;
      if (limit_ms > 0 && done.ends_ms - request.arrived_ms > limit_ms) {
        versions[chosen].Refused(request.arrived_ms, span);
        continue;
      }
      start(chosen, request, done.ends_ms);
      break;
    }
  }
  return Results(versions);
}

std::vector<Outcome> SimulateSlicing(const std::vector<Arrivals>& arrivals, int cores, double slice_ms, double switch_ms,
                                     const Span& span) {
  struct Running {
    double ends_virtual_ms, arrived_ms;
    size_t version;
    bool operator>(const Running& other) const { return ends_virtual_ms > other.ends_virtual_ms; }
  };
  std::vector<Version> versions = MakeVersions(arrivals, span.seed);
  std::vector<size_t> inside(versions.size());
  std::priority_queue<Running, std::vector<Running>, std::greater<>> running;
  NextArrival next(versions);
  double now_ms = 0, virtual_ms = 0;  // virtual: the work that each request got so far
  const double end_ms = span.warm_up_ms + span.ms;

  while (true) {
    if (next.ms() > end_ms && running.empty()) break;
    const auto count = static_cast<double>(running.size());
    const double speed = count <= cores ? 1.0 : cores / count * slice_ms / (slice_ms + switch_ms);
    const double ends_ms =
        running.empty() ? kNever : now_ms + (running.top().ends_virtual_ms - virtual_ms) / speed;
    if (next.ms() <= end_ms && next.ms() <= ends_ms) {
      virtual_ms += (next.ms() - now_ms) * speed;
      now_ms = next.ms();
      const size_t index = next.Pop();
      Version& version = versions[index];
      const double takes_ms = version.Arrive();
      next.Push(version.next_ms(), index);
      if (inside[index] >= arrivals[index].waiting_max + static_cast<size_t>(cores)) {
        version.Refused(now_ms, span);
      } else {
        ++inside[index];
        running.push({virtual_ms + takes_ms, now_ms, index});
      }
      continue;
    }
    virtual_ms = running.top().ends_virtual_ms;
    now_ms = ends_ms;
    const Running done = running.top();
    running.pop();
    --inside[done.version];
    versions[done.version].Answered(done.arrived_ms, now_ms, span);
  }
  return Results(versions);
}

}  // namespace corelane
