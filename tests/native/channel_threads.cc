// Gateways, sessions and a scheduler that keeps changing them, all as threads of one process: for ThreadSanitizer and
// AddressSanitizer. Exits 0 if every call ended as it may.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "echo_worker.h"
#include "channel/futex.h"

using corelane_test::Random;

namespace {

void Fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

void CallAlways(const corelane::SharedChannel* channel, uint32_t owner, uint64_t seed, int calls) {
  Random random(seed);
  for (int number = 0; number < calls; ++number) {
    const std::string text = random.Text();
    corelane::Cancellation cancellation;
    std::thread client;
    if (random.Below(8) == 0) client = std::thread([&cancellation] { cancellation.Cancel(); });
    const int64_t allowed_ns = random.Below(10) == 0 ? static_cast<int64_t>(random.Below(50'000)) : 20'000'000'000;
    {
      const auto result = corelane::Call(*channel, owner, corelane::CallKind{1}, text, corelane::MonotonicNs() + allowed_ns, &cancellation);
      const bool answered = result.end() == corelane::CallEnd::kAnswered;
      if (answered && corelane_test::PayloadOf(result) != corelane_test::Echoed(text)) Fail("a wrong answer");
      if (result.end() == corelane::CallEnd::kLost || result.end() == corelane::CallEnd::kTooLarge) Fail("a wrong end");
    }
    if (client.joinable()) client.join();
  }
}

}  // namespace

int main(int count, char** arguments) {
  const int calls = count > 1 ? std::atoi(arguments[1]) : 500;
  for (bool round_robin : {false, true}) {
    std::string error;
    std::shared_ptr<corelane::SharedChannel> channel =
        corelane::SharedChannel::Create({1, 12, 1 << 18, corelane::ChannelOptions::kMaxTimeout}, &error);
    if (channel == nullptr) Fail(error.c_str());
    // The payload is mapped by a second mapping, as in a worker.
    std::shared_ptr<corelane::SharedChannel> mapped =
        corelane::SharedChannel::Map(dup(channel->descriptor()), 1, true, &error);
    if (mapped == nullptr) Fail(error.c_str());
    auto handler = std::make_shared<corelane_test::EchoHandler>(mapped.get());
    const std::shared_ptr<corelane::PoolGate> gate = corelane::PoolGate::Create();
    gate->SetPermits(1);
    corelane::SessionGroup group(mapped, handler, 8, round_robin, {0}, 1, gate, static_cast<uint32_t>(gate->Add(1)));
    if (!group.Place(std::vector<corelane::SessionPlacement>(2), false).empty()) Fail("sessions cannot be placed");
    std::vector<std::thread> gateways;
    for (uint32_t owner = 1; owner <= 4; ++owner) {
      gateways.emplace_back([&channel, owner, calls] { CallAlways(channel.get(), owner, owner, calls); });
    }
    std::atomic<bool> done{false};
    std::thread scheduler([&group, &done] {
      Random random(9);
      while (!done.load()) {
        std::vector<corelane::SessionPlacement> sessions(1 + random.Below(4));
        for (size_t index = 1; index < sessions.size(); ++index) sessions[index].paused = random.Below(3) == 0;
        if (!group.Place(sessions, random.Below(2) == 0).empty()) Fail("sessions cannot be placed");
        usleep(300);
      }
    });
    for (std::thread& gateway : gateways) gateway.join();
    done.store(true);
    scheduler.join();
    group.Place(std::vector<corelane::SessionPlacement>(1), true);
    while (!channel->CloseIfIdle()) usleep(100);
    group.Stop();
    if (gate->Taken() != 0) Fail("a permit was not given back");
    if (!channel->CheckIntegrity().empty()) Fail(channel->CheckIntegrity().c_str());
  }
  std::puts("every call ended as it may");
}
