// The pool's gate between processes that are killed: no more sessions run than there are permits, nobody waits while one
// is free, shares are by weight, and what the dead held comes back. Exits 0 if all of that is so.
//
// First as threads of one process (for sanitizers), then as processes.
#include "sessions/pool_gate.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "echo_worker.h"
#include "channel/futex.h"

using corelane::MonotonicNs;
using corelane::PoolGate;
using corelane_test::Random;

namespace {

constexpr uint32_t kPermits = 2;
constexpr int kSessions = 3;

// What the members tell each other, in memory that all share.
struct Board {
  std::atomic<int> inside;
  std::atomic<bool> done;
  std::atomic<uint64_t> entered[64];
};

void Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

void Spin(int64_t ns) {
  const int64_t until_ns = MonotonicNs() + ns;
  while (MonotonicNs() < until_ns) {
  }
}

// A session: has work always, or now and then.
void Run(PoolGate* gate, uint32_t member, Board* board, uint64_t seed, bool strict, bool busy) {
  Random random(seed);
  while (!board->done.load()) {
    const int permit = gate->Enter(member, board->done);
    if (permit < 0) return;
    const int inside = board->inside.fetch_add(1) + 1;
    if (strict && inside > static_cast<int>(kPermits)) Fail("more sessions run than there are permits");
    const int64_t started_ns = MonotonicNs();
    Spin(static_cast<int64_t>(random.Below(40'000)));
    board->entered[member % 64].fetch_add(1);
    board->inside.fetch_sub(1);
    gate->Leave(member, permit, MonotonicNs() - started_ns);
    if (!busy) usleep(static_cast<useconds_t>(random.Below(200)));
  }
}

Board* MakeBoard() {
  void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return new (memory) Board();
}

void Threads(int milliseconds) {
  const std::shared_ptr<PoolGate> gate = PoolGate::Create();
  Board* board = MakeBoard();
  gate->SetPermits(kPermits);
  std::vector<std::thread> threads;
  const std::array<double, 3> weights{1.0, 1.0, 2.0};
  for (double weight : weights) {
    const auto member = static_cast<uint32_t>(gate->Add(weight));
    for (int session = 0; session < kSessions; ++session) {
      threads.emplace_back(Run, gate.get(), member, board, member * 10 + session, true, true);
    }
  }
  usleep(static_cast<useconds_t>(milliseconds) * 1000);
  board->done.store(true);
  for (uint32_t member = 0; member < weights.size(); ++member) gate->Wake(member);
  for (std::thread& thread : threads) thread.join();
  if (gate->Taken() != 0) Fail("a permit was not given back");
  const auto entered = [board](int member) { return static_cast<double>(board->entered[member].load()); };
  std::printf("entered %.0f, %.0f, %.0f by weights 1, 1, 2\n", entered(0), entered(1), entered(2));
  // Shares are of time; on a busy machine one entry may take long.
  const double one = (entered(0) + entered(1)) / 2;
  if (one == 0 || entered(2) < 1.4 * one || entered(2) > 2.8 * one) Fail("the shares are not by weight");
}

struct Child {
  pid_t pid;
  uint32_t member;
};

Child Start(const std::shared_ptr<PoolGate>& gate, Board* board, uint64_t seed) {
  const auto member = static_cast<uint32_t>(gate->Add(1.0));
  const pid_t pid = fork();
  if (pid == 0) {
    const std::shared_ptr<PoolGate> mapped = PoolGate::Map(dup(gate->descriptor()));
    if (mapped == nullptr) _exit(3);
    std::vector<std::thread> threads;
    for (int session = 0; session < kSessions; ++session) {
      threads.emplace_back(Run, mapped.get(), member, board, seed * 10 + session, false, seed % 2 == 0);
    }
    for (std::thread& thread : threads) thread.join();
    _exit(0);
  }
  return {pid, member};
}

void Kills(int kills) {
  const std::shared_ptr<PoolGate> gate = PoolGate::Create();
  Board* board = MakeBoard();
  gate->SetPermits(kPermits);
  Random random(7);
  std::vector<Child> children;
  uint64_t seed = 0;
  for (int index = 0; index < 4; ++index) children.push_back(Start(gate, board, ++seed));
  for (int number = 0; number < kills; ++number) {
    usleep(static_cast<useconds_t>(random.Below(3000)));
    Child& victim = children[random.Below(children.size())];
    kill(victim.pid, SIGKILL);
    waitpid(victim.pid, nullptr, 0);
    gate->Remove(victim.member);
    victim = Start(gate, board, ++seed);
    if (random.Below(10) == 0) gate->SetPermits(1 + static_cast<uint32_t>(random.Below(3)));
  }
  gate->SetPermits(kPermits);
  // Everybody still gets on.
  for (const Child& child : children) {
    const uint64_t before = board->entered[child.member % 64].load();
    const int64_t until_ns = MonotonicNs() + 20'000'000'000;
    while (board->entered[child.member % 64].load() < before + 10) {
      if (MonotonicNs() > until_ns) Fail("member " + std::to_string(child.member) + " gets no permit any more");
      usleep(1000);
    }
  }
  board->done.store(true);
  for (const Child& child : children) {
    gate->Wake(child.member);
    int status = 0;
    waitpid(child.pid, &status, 0);
    if (status != 0) Fail("a member failed");
    gate->Remove(child.member);
  }
  if (gate->Taken() != 0) Fail("a permit is lost");
  std::printf("%d members killed, no permit lost\n", kills);
}

}  // namespace

int main(int count, char** arguments) {
  Threads(count > 1 ? std::atoi(arguments[1]) : 500);
  if (count > 2) Kills(std::atoi(arguments[2]));
}
