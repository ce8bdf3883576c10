// Who of the pool runs: as many sessions at once as the pool has cores, and of several versions each its share.
//
// The memory has a word for each permit and an entry for each member, a worker. A permit is free, held by a member's
// session, or offered to a member; it changes by compare-and-swap only. A session that is done offers its permit to the
// member that waits and is furthest behind its share. Nothing is lost if a process dies between two steps: the supervisor
// takes back what a dead member held or was offered, and who waits looks again by itself from time to time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace corelane {

inline constexpr uint32_t kGateMembers = 1024;
inline constexpr uint32_t kGatePermits = 1024;

struct alignas(64) GateMember {
  std::atomic<uint32_t> alive;
  std::atomic<uint32_t> wake;     // its sessions sleep on it; changes when a permit may have come
  std::atomic<uint32_t> held;     // permits that its sessions hold
  std::atomic<uint32_t> weight;   // in thousandths
  std::atomic<uint64_t> used_ns;  // on cores, by weight; who has used least is next
};

struct GateHeader {
  uint64_t magic;
  std::atomic<uint32_t> permits;  // how many of the words may be held
  std::atomic<uint32_t> words;    // how many ever were
  alignas(64) std::atomic<uint32_t> word[kGatePermits];
  alignas(64) std::atomic<uint32_t> waiting[kGateMembers];  // sessions of each member that have work and no permit
  GateMember members[kGateMembers];
};

// Thread safety: all methods from any thread of any process; Add, Remove and SetPermits are the supervisor's.
//
// Invariant: no permit stays free, or offered to a member that does not wait, while another member waits.
class PoolGate {
 public:
  static std::shared_ptr<PoolGate> Create();
  // What another process has made. Null if `descriptor` is no such memory. Takes the descriptor over.
  static std::shared_ptr<PoolGate> Map(int descriptor);
  ~PoolGate();
  PoolGate(const PoolGate&) = delete;
  PoolGate& operator=(const PoolGate&) = delete;

  int descriptor() const { return descriptor_; }

  // The number of a new member; -1 if there is no room.
  int Add(double weight);
  // The member's process has ended.
  void Remove(uint32_t member);
  // Of fewer than there are held, the rest end with the runs that hold them.
  void SetPermits(uint32_t permits);

  // Waits for a permit: its number, or -1 if `*give_up` became true meanwhile, and then Wake was called.
  int Enter(uint32_t member, const std::atomic<bool>& give_up);
  // The session that holds this permit ran for `used_ns`, and is done.
  void Leave(uint32_t member, int permit, int64_t used_ns);
  void Wake(uint32_t member);

  uint32_t Held(uint32_t member) const { return header_->members[member].held.load(); }
  uint32_t Waiting(uint32_t member) const { return header_->waiting[member].load(); }
  // Permits that are not free.
  uint32_t Taken() const;

 private:
  PoolGate(int descriptor, GateHeader* header) : descriptor_(descriptor), header_(header) {}

  int TryEnter(uint32_t member);
  void ReturnOffers(uint32_t member);
  void HandOn(uint32_t index, uint32_t from);
  int Neediest() const;
  void CatchUp(uint32_t member);

  const int descriptor_;
  GateHeader* const header_;
  std::atomic<uint32_t> next_member_{0};
};

}  // namespace corelane
