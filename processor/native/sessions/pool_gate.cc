#include "sessions/pool_gate.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "channel/futex.h"

namespace corelane {
namespace {

constexpr uint64_t kGateMagic = 0x31'65'74'61'67'6c'6f'63;
// A waiting session looks again this often, in case the one that was to wake it died before it could.
constexpr int64_t kLookAgainNs = 20'000'000;

// What a permit's word says: whose it is, and whether a session has it or is to take it.
constexpr uint32_t kFree = 0;
uint32_t HeldBy(uint32_t member) { return (member + 1) << 1; }
uint32_t OfferedTo(uint32_t member) { return (member + 1) << 1 | 1; }

GateHeader* MapMemory(int descriptor) {
  void* memory = mmap(nullptr, sizeof(GateHeader), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<GateHeader*>(memory);
}

}  // namespace

std::shared_ptr<PoolGate> PoolGate::Create() {
  const int descriptor = memfd_create("corelane-pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return nullptr;
  // Sealed: a process that has the descriptor could else cut the memory off under the others.
  const bool is_sized = ftruncate(descriptor, sizeof(GateHeader)) == 0 &&
                        fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
  GateHeader* header = is_sized ? MapMemory(descriptor) : nullptr;
  if (header == nullptr) {
    close(descriptor);
    return nullptr;
  }
  header->magic = kGateMagic;
  return std::shared_ptr<PoolGate>(new PoolGate(descriptor, header));
}

std::shared_ptr<PoolGate> PoolGate::Map(int descriptor) {
  struct stat status;
  GateHeader* header = nullptr;
  if (fstat(descriptor, &status) == 0 && status.st_size == sizeof(GateHeader)) header = MapMemory(descriptor);
  if (header != nullptr && header->magic == kGateMagic) {
    return std::shared_ptr<PoolGate>(new PoolGate(descriptor, header));
  }
  if (header != nullptr) munmap(header, sizeof(GateHeader));
  close(descriptor);
  return nullptr;
}

PoolGate::~PoolGate() {
  munmap(header_, sizeof(GateHeader));
  close(descriptor_);
}

int PoolGate::Add(double weight) {
  // In turn, so that a number is not soon another's.
  for (uint32_t tried = 0; tried < kGateMembers; ++tried) {
    const uint32_t number = next_member_.fetch_add(1) % kGateMembers;
    GateMember& member = header_->members[number];
    if (member.alive.load() != 0) continue;
    header_->waiting[number].store(0);
    member.held.store(0);
    member.used_ns.store(0);
    member.weight.store(std::max<uint32_t>(1, static_cast<uint32_t>(weight * 1000)));
    member.alive.store(1);
    return static_cast<int>(number);
  }
  return -1;
}

void PoolGate::Remove(uint32_t number) {
  // First, so that who offers it a permit from now on takes that back.
  header_->members[number].alive.store(0);
  header_->waiting[number].store(0);
  for (uint32_t index = 0; index < header_->words.load(); ++index) {
    for (uint32_t word : {HeldBy(number), OfferedTo(number)}) {
      if (header_->word[index].load() == word) HandOn(index, word);
    }
  }
}

void PoolGate::SetPermits(uint32_t permits) {
  permits = std::min(permits, kGatePermits);
  if (header_->words.load() < permits) header_->words.store(permits);
  const uint32_t before = header_->permits.exchange(permits);
  for (uint32_t index = before; index < permits; ++index) HandOn(index, kFree);
}

int PoolGate::Enter(uint32_t number, const std::atomic<bool>& give_up) {
  GateMember& member = header_->members[number];
  if (header_->waiting[number].load() == 0 && member.held.load() == 0) CatchUp(number);
  // Announced first: who frees a permit looks for who waits after that, and we look for a free one after this.
  header_->waiting[number].fetch_add(1);
  int permit = -1;
  while (true) {
    const uint32_t seen = member.wake.load();
    permit = TryEnter(number);
    if (permit >= 0 || give_up.load()) break;
    FutexWait(&member.wake, seen, MonotonicNs() + kLookAgainNs);
  }
  if (permit >= 0) member.held.fetch_add(1);
  if (header_->waiting[number].fetch_sub(1) == 1) ReturnOffers(number);
  return permit;
}

void PoolGate::Leave(uint32_t number, int permit, int64_t used_ns) {
  GateMember& member = header_->members[number];
  member.used_ns.fetch_add(static_cast<uint64_t>(std::max<int64_t>(used_ns, 1)) * 1000 / member.weight.load());
  member.held.fetch_sub(1);
  HandOn(static_cast<uint32_t>(permit), HeldBy(number));
}

void PoolGate::Wake(uint32_t number) {
  header_->members[number].wake.fetch_add(1);
  FutexWakeAll(&header_->members[number].wake);
}

uint32_t PoolGate::Taken() const {
  uint32_t count = 0;
  for (const auto& word : header_->word) count += word.load() != kFree;
  return count;
}

// A permit that was offered to the member, else one that is free; -1 if there is none.
int PoolGate::TryEnter(uint32_t number) {
  const uint32_t words = header_->words.load();
  for (uint32_t wanted : {OfferedTo(number), kFree}) {
    for (uint32_t index = 0; index < words; ++index) {
      if (wanted == kFree && index >= header_->permits.load()) break;
      uint32_t expected = wanted;
      if (header_->word[index].load() == wanted &&
          header_->word[index].compare_exchange_strong(expected, HeldBy(number))) {
        return static_cast<int>(index);
      }
    }
  }
  return -1;
}

// Nobody of the member waits any more: what it was offered goes to others.
void PoolGate::ReturnOffers(uint32_t number) {
  for (uint32_t index = 0; index < header_->words.load(); ++index) {
    if (header_->word[index].load() == OfferedTo(number)) HandOn(index, OfferedTo(number));
  }
}

// Offers a permit, whose word is `from`, to who needs it most; frees it if nobody does.
void PoolGate::HandOn(uint32_t index, uint32_t from) {
  while (true) {
    const int next = index < header_->permits.load() ? Neediest() : -1;
    const uint32_t to = next < 0 ? kFree : OfferedTo(static_cast<uint32_t>(next));
    if (from != to && !header_->word[index].compare_exchange_strong(from, to)) return;  // it is settled otherwise
    from = to;
    if (next < 0) {
      // Whoever began to wait after we had looked may have found no free permit.
      if (index >= header_->permits.load() || Neediest() < 0) return;
    } else {
      GateMember& member = header_->members[next];
      member.wake.fetch_add(1);
      FutexWake(&member.wake, 1);
      // If it waits no longer, it may have looked for offers before this one came.
      if (header_->waiting[next].load() != 0 && member.alive.load() != 0) return;
    }
  }
}

// The member that waits and has used least; -1 if none waits.
int PoolGate::Neediest() const {
  int found = -1;
  uint64_t least = 0;
  for (uint32_t number = 0; number < kGateMembers; ++number) {
    if (header_->waiting[number].load() == 0) continue;
    const GateMember& member = header_->members[number];
    if (member.alive.load() == 0) continue;
    const uint64_t used = member.used_ns.load();
    if (found < 0 || used < least) found = static_cast<int>(number), least = used;
  }
  return found;
}

// Who was idle gets no credit for it: a member that comes back has used as much as the one that is furthest behind.
void PoolGate::CatchUp(uint32_t number) {
  uint64_t least = UINT64_MAX;
  for (uint32_t other = 0; other < kGateMembers; ++other) {
    const GateMember& member = header_->members[other];
    if (other == number || member.alive.load() == 0) continue;
    if (header_->waiting[other].load() + member.held.load() > 0) least = std::min(least, member.used_ns.load());
  }
  if (least == UINT64_MAX) return;
  std::atomic<uint64_t>& used = header_->members[number].used_ns;
  uint64_t before = used.load();
  while (before < least && !used.compare_exchange_weak(before, least)) {
  }
}

}  // namespace corelane
