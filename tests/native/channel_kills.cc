// A supervisor, gateways and a worker as processes, of which the first kills the others, over and over: at every step of
// the channel in turn, then at random. Exits 0 if every answer was right, nobody waited in vain, all slots came back and
// no descriptor was left.
//
//     channel_kills KILLS SEED
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "echo_worker.h"
#include "channel/futex.h"

using corelane::CallEnd;
using corelane::MonotonicNs;
using corelane::SharedChannel;
using corelane_test::Random;

namespace {

// The step at which this process is to die; 0: none.
std::atomic<long> g_step{0}, g_fatal_step{0};

constexpr uint32_t kSlots = 8;
constexpr uint32_t kGateways = 3;
constexpr int64_t kSecond = 1'000'000'000;

// What the processes share beside the channel: where the channel is, and what the gateways have seen.
struct Board {
  std::atomic<uint64_t> place;  // descriptor << 32 | instance, of the supervisor's
  std::atomic<bool> stop;
  std::atomic<uint64_t> answers, lost, other, wrong;
};

Board* g_board = nullptr;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  kill(0, SIGKILL);
  std::abort();
}

std::unique_ptr<SharedChannel> OpenChannel(pid_t supervisor, uint64_t place, bool with_payload) {
  const std::string path = "/proc/" + std::to_string(supervisor) + "/fd/" + std::to_string(place >> 32);
  const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC);
  std::string error;
  return descriptor < 0 ? nullptr : SharedChannel::Map(descriptor, place & 0xffffffff, with_payload, &error);
}

template <typename Life>
pid_t Fork(long fatal_step, Life life) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  g_step = 0;
  g_fatal_step = fatal_step;
  life(parent);
  _exit(0);
}

// One call, counted; its answer must be right.
CallEnd CallOnce(const SharedChannel& channel, uint32_t owner, Random* random) {
  const std::string text = random->Text();
  corelane::Cancellation cancellation;
  std::thread client;
  if (random->Below(10) == 0) client = std::thread([&cancellation] { cancellation.Cancel(); });
  const int64_t allowed_ns = random->Below(10) == 0 ? static_cast<int64_t>(random->Below(100'000)) : 60 * kSecond;
  CallEnd end;
  {
    const auto result = corelane::Call(channel, owner, corelane::CallKind{1}, text, MonotonicNs() + allowed_ns, &cancellation);
    end = result.end();
    if (end == CallEnd::kAnswered) {
      ++(corelane_test::PayloadOf(result) == corelane_test::Echoed(text) ? g_board->answers : g_board->wrong);
    } else {
      ++(end == CallEnd::kLost ? g_board->lost : g_board->other);
    }
  }
  if (client.joinable()) client.join();
  return end;
}

// A gateway: two threads that call until told to stop, on whatever channel is published.
void LiveAsGateway(pid_t supervisor, uint32_t owner, uint64_t seed) {
  const auto call = [supervisor, owner](uint64_t own_seed) {
    Random random(own_seed);
    std::unique_ptr<SharedChannel> channel;
    uint64_t place = 0;
    while (!g_board->stop.load()) {
      if (channel == nullptr || place != g_board->place.load()) {
        place = g_board->place.load();
        channel = OpenChannel(supervisor, place, false);
      }
      if (channel == nullptr || CallOnce(*channel, owner, &random) == CallEnd::kLost) usleep(50);
    }
  };
  std::thread second(call, seed * 2);
  call(seed * 2 + 1);
  second.join();
}

void LiveAsWorker(pid_t supervisor) {
  std::shared_ptr<SharedChannel> channel = OpenChannel(supervisor, g_board->place.load(), true);
  if (channel == nullptr) _exit(2);
  auto handler = std::make_shared<corelane_test::EchoHandler>(channel.get());
  corelane::SessionGroup group(channel, handler, kSlots - 2, false, {0, 1}, 2, nullptr, 0);
  if (!group.Place(std::vector<corelane::SessionPlacement>(2), false).empty()) _exit(3);
  while (!g_board->stop.load() || !channel->CloseIfIdle()) usleep(200);
  group.Stop();
}

struct Serving {
  std::unique_ptr<SharedChannel> channel;
  uint64_t instance = 0;
  pid_t worker = 0;

  // Another worker on another channel, as after a death.
  void Start(long fatal_step) {
    std::string error;
    channel = SharedChannel::Create({++instance, kSlots, 1 << 18, corelane::ChannelOptions::kMaxTimeout}, &error);
    if (channel == nullptr) Fail(error);
    g_board->place = static_cast<uint64_t>(channel->descriptor()) << 32 | instance;
    worker = Fork(fatal_step, LiveAsWorker);
  }
};

int CountDescriptors() {
  DIR* folder = opendir("/proc/self/fd");
  int count = 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

// Waits for a child's end; false if it takes too long.
bool EndsWithin(pid_t pid, int64_t limit_ns, int* status) {
  const int64_t until_ns = MonotonicNs() + limit_ns;
  while (waitpid(pid, status, WNOHANG) == 0) {
    if (MonotonicNs() > until_ns) return false;
    usleep(100);
  }
  return true;
}

void AwaitIdle(const SharedChannel& channel, const std::string& when) {
  const int64_t until_ns = MonotonicNs() + 20 * kSecond;
  while (true) {
    uint32_t taken = 0;
    for (uint32_t slot = 0; slot < channel.slots(); ++slot) taken += channel.word(slot).load() != 0;
    if (taken == 0) return;
    if (MonotonicNs() > until_ns) Fail(std::to_string(taken) + " slots did not come back " + when);
    usleep(100);
  }
}

// A gateway that dies at each of its steps in turn; returns how many there were.
long KillGatewayAtEveryStep(Serving* serving) {
  for (long step = 1;; ++step) {
    const pid_t pid = Fork(step, [](pid_t supervisor) {
      Random random(1);
      const auto channel = OpenChannel(supervisor, g_board->place.load(), false);
      for (int number = 0; number < 30; ++number) CallOnce(*channel, 1, &random);
    });
    int status;
    if (!EndsWithin(pid, 30 * kSecond, &status)) Fail("a gateway hangs at step " + std::to_string(step));
    serving->channel->Reclaim(1);
    AwaitIdle(*serving->channel, "after a gateway died at step " + std::to_string(step));
    if (WIFEXITED(status)) return step;
  }
}

// A worker that dies at each of its steps in turn, under a gateway that must not be left waiting.
long KillWorkerAtEveryStep() {
  for (long step = 1;; ++step) {
    Serving serving;
    serving.instance = 1'000'000 + step;
    serving.Start(step);
    const pid_t gateway = Fork(0, [](pid_t supervisor) {
      Random random(2);
      const auto channel = OpenChannel(supervisor, g_board->place.load(), false);
      for (int number = 0; number < 12; ++number) {
        if (CallOnce(*channel, 2, &random) == CallEnd::kLost) return;
      }
    });
    // The worker dies, or the gateway has had all its answers.
    int status, end = 0;
    bool died = false, done = false;
    const int64_t until_ns = MonotonicNs() + 30 * kSecond;
    while (!done) {
      if (!died && waitpid(serving.worker, &end, WNOHANG) != 0) {
        died = true;
        serving.channel->MarkDead();
      }
      done = waitpid(gateway, &status, WNOHANG) != 0;
      if (MonotonicNs() > until_ns) Fail("a gateway waits for a worker that died at step " + std::to_string(step));
      usleep(50);
    }
    if (!died) {
      kill(serving.worker, SIGKILL);
      waitpid(serving.worker, &end, 0);
      return step;
    }
  }
}

void KillAtRandom(Serving* serving, long kills, uint64_t seed) {
  Random random(seed);
  std::vector<pid_t> gateways(kGateways);
  std::vector<uint32_t> owners(kGateways);
  uint32_t next_owner = 10;
  const auto start = [&](uint32_t index) {
    const uint32_t owner = owners[index] = next_owner++ % corelane::kOwnerMax + 1;
    const uint64_t own_seed = random.Below(1 << 30);
    gateways[index] =
        Fork(0, [owner, own_seed](pid_t supervisor) { LiveAsGateway(supervisor, owner, own_seed); });
  };
  for (uint32_t index = 0; index < kGateways; ++index) start(index);
  int status;
  for (long number = 0; number < kills; ++number) {
    usleep(static_cast<useconds_t>(random.Below(3000)));
    const auto victim = static_cast<uint32_t>(random.Below(kGateways + 1));
    if (victim == kGateways) {
      kill(serving->worker, SIGKILL);
      waitpid(serving->worker, &status, 0);
      serving->channel->MarkDead();
      serving->Start(0);
    } else {
      kill(gateways[victim], SIGKILL);
      waitpid(gateways[victim], &status, 0);
      serving->channel->Reclaim(owners[victim]);
      start(victim);
    }
  }
  g_board->stop = true;
  for (pid_t gateway : gateways) {
    if (!EndsWithin(gateway, 30 * kSecond, &status) || !WIFEXITED(status)) Fail("a gateway does not end");
  }
  AwaitIdle(*serving->channel, "after all kills");
  if (!EndsWithin(serving->worker, 30 * kSecond, &status) || status != 0) Fail("the worker does not end");
  serving->channel->MarkDead();
}

}  // namespace

void CorelaneTestStep() {
  if (g_fatal_step != 0 && ++g_step == g_fatal_step) kill(getpid(), SIGKILL);
}

int main(int count, char** arguments) {
  setpgid(0, 0);
  const long kills = count > 1 ? std::atol(arguments[1]) : 1000;
  const uint64_t seed = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1;
  void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  g_board = new (memory) Board{};
  const int descriptors = CountDescriptors();
  {
    Serving serving;
    serving.Start(0);
    const long gateway_steps = KillGatewayAtEveryStep(&serving);
    kill(serving.worker, SIGKILL);
    waitpid(serving.worker, nullptr, 0);
    const long worker_steps = KillWorkerAtEveryStep();
    std::printf("killed at %ld steps of a gateway and %ld of a worker\n", gateway_steps, worker_steps);
  }
  {
    Serving serving;
    serving.Start(0);
    KillAtRandom(&serving, kills, seed);
  }
  const auto answers = g_board->answers.load();
  std::printf("%ld random kills: %llu answers, %llu lost, %llu others, %llu wrong\n", kills,
              static_cast<unsigned long long>(answers), static_cast<unsigned long long>(g_board->lost.load()),
              static_cast<unsigned long long>(g_board->other.load()),
              static_cast<unsigned long long>(g_board->wrong.load()));
  if (g_board->wrong != 0) Fail("wrong answers");
  if (answers < static_cast<uint64_t>(kills)) Fail("hardly any answers");
  if (CountDescriptors() != descriptors) Fail("descriptors are left");
}
