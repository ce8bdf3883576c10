#include "channel/shared_channel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "channel/futex.h"

namespace corelane {
namespace {

constexpr uint64_t kPageBytes = 4096;
// What a freed slot keeps of the memory that its messages took. The first slots are taken first, so under a light load
// they serve all requests and should not fault their pages in again and again.
constexpr uint32_t kWarmSlots = 16;
constexpr uint64_t kWarmKeepBytes = 4 << 20;
constexpr uint64_t kColdKeepBytes = 64 << 10;

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

uint64_t WordsOffset() { return RoundUp(sizeof(ChannelHeader), 64); }
uint64_t DescriptionsOffset(uint64_t slots) { return WordsOffset() + RoundUp(slots * sizeof(uint64_t), 64); }
uint64_t PayloadOffset(uint64_t slots) {
  return RoundUp(DescriptionsOffset(slots) + slots * sizeof(SlotDescription), kPageBytes);
}

std::string SystemError(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

std::vector<uint64_t> Counts(const Histogram& histogram) {
  std::vector<uint64_t> counts;
  for (const auto& count : histogram.counts) counts.push_back(count.load(std::memory_order_relaxed));
  return counts;
}

HistogramCounts WithSum(const Histogram& histogram) {
  return {Counts(histogram), histogram.sum_ns.load(std::memory_order_relaxed)};
}

}  // namespace

std::unique_ptr<SharedChannel> SharedChannel::Create(const ChannelOptions& options, std::string* error) {
  const uint64_t area_bytes = RoundUp(options.message_bytes_max, kPageBytes);
  const uint64_t payload = PayloadOffset(options.slots);
  // Pages take memory when they are first written, and give it back when a large message is done.
  constexpr uint64_t kAddressable = uint64_t{1} << 46;
  if (options.slots == 0 || area_bytes == 0 || area_bytes > kAddressable / 2 / options.slots) {
    *error = "so many messages of that size cannot be addressed";
    return nullptr;
  }
  const int descriptor = memfd_create("corelane-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) {
    *error = SystemError("memfd_create");
    return nullptr;
  }
  std::unique_ptr<SharedChannel> channel(new SharedChannel());
  channel->descriptor_ = descriptor;
  if (ftruncate(descriptor, static_cast<off_t>(payload + options.slots * 2 * area_bytes)) != 0) {
    *error = SystemError("ftruncate");
    return nullptr;
  }
  // A process that has the descriptor could else cut the memory off under the others.
  if (fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    *error = SystemError("F_ADD_SEALS");
    return nullptr;
  }
  channel->slots_ = options.slots;
  channel->area_bytes_ = area_bytes;
  channel->message_bytes_max_ = options.message_bytes_max;
  if (!channel->MapMemory(false, error)) return nullptr;
  ChannelHeader& header = channel->header();
  header.instance = options.instance;
  header.slots = options.slots;
  header.area_bytes = area_bytes;
  header.message_bytes_max = options.message_bytes_max;
  header.queue_timeout_ns = options.queue_timeout_ns;
  header.claimable = options.slots;
  header.magic = kChannelMagic;
  return channel;
}

std::unique_ptr<SharedChannel> SharedChannel::Map(int descriptor, uint64_t instance, bool with_payload,
                                                  std::string* error) {
  std::unique_ptr<SharedChannel> channel(new SharedChannel());
  channel->descriptor_ = descriptor;
  struct stat file;
  if (fstat(descriptor, &file) != 0) {
    *error = SystemError("fstat");
    return nullptr;
  }
  alignas(ChannelHeader) char start[sizeof(ChannelHeader)];
  if (pread(descriptor, start, sizeof(start), 0) != static_cast<ssize_t>(sizeof(start))) {
    *error = "no channel";
    return nullptr;
  }
  const auto* header = reinterpret_cast<const ChannelHeader*>(start);
  const auto size = static_cast<uint64_t>(file.st_size);
  if (header->magic != kChannelMagic || header->instance != instance || header->slots == 0 ||
      header->slots > UINT32_MAX || header->area_bytes == 0 || header->message_bytes_max > header->area_bytes ||
      PayloadOffset(header->slots) > size ||
      (size - PayloadOffset(header->slots)) / 2 / header->slots != header->area_bytes) {
    *error = "not the channel of this worker";
    return nullptr;
  }
  channel->slots_ = static_cast<uint32_t>(header->slots);
  channel->area_bytes_ = header->area_bytes;
  channel->message_bytes_max_ = header->message_bytes_max;
  if (!channel->MapMemory(with_payload, error)) return nullptr;
  return channel;
}

bool SharedChannel::MapMemory(bool with_payload, std::string* error) {
  const uint64_t payload = PayloadOffset(slots_);
  mapped_bytes_ = with_payload ? payload + slots_ * 2 * area_bytes_ : payload;
  void* memory = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor_, 0);
  if (memory == MAP_FAILED) {
    *error = SystemError("mmap");
    return false;
  }
  memory_ = memory;
  char* base = static_cast<char*>(memory);
  header_ = reinterpret_cast<ChannelHeader*>(base);
  words_ = reinterpret_cast<std::atomic<uint64_t>*>(base + WordsOffset());
  descriptions_ = reinterpret_cast<SlotDescription*>(base + DescriptionsOffset(slots_));
  payload_ = with_payload ? base + payload : nullptr;
  return true;
}

SharedChannel::~SharedChannel() {
  if (memory_ != nullptr) munmap(memory_, mapped_bytes_);
  if (descriptor_ >= 0) close(descriptor_);
}

uint64_t SharedChannel::RequestOffset(uint32_t slot) const {
  return PayloadOffset(slots_) + slot * uint64_t{2} * area_bytes_;
}

bool SharedChannel::WriteRequest(uint32_t slot, std::string_view request) const {
  auto offset = static_cast<off_t>(RequestOffset(slot));
  while (!request.empty()) {
    const ssize_t written = pwrite(descriptor_, request.data(), request.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    request.remove_prefix(static_cast<size_t>(written));
    offset += written;
  }
  return true;
}

bool SharedChannel::ReadResponse(uint32_t slot, char* to, uint64_t size) const {
  auto offset = static_cast<off_t>(RequestOffset(slot) + area_bytes_);
  while (size != 0) {
    const ssize_t read = pread(descriptor_, to, size, offset);
    if (read < 0 && errno == EINTR) continue;
    if (read <= 0) return false;
    to += read;
    offset += read;
    size -= static_cast<uint64_t>(read);
  }
  return true;
}

bool SharedChannel::Move(uint32_t slot, SlotWord seen, SlotState next) const {
  uint64_t expected = seen.Bits();
  CORELANE_STEP();
  const bool moved = words_[slot].compare_exchange_strong(expected, seen.With(next).Bits());
  CORELANE_STEP();
  return moved;
}

bool SharedChannel::Free(uint32_t slot, SlotWord seen) const {
  const uint64_t keep = slot < kWarmSlots ? kWarmKeepBytes : kColdKeepBytes;
  // Whoever frees a queued slot may lose it to a session, so nothing of it is touched until it cannot.
  if (seen.state == SlotState::kQueued) {
    if (!Move(slot, seen, SlotState::kClaimed)) return false;
    seen = seen.With(SlotState::kClaimed);
  }
  const SlotDescription& description = descriptions_[slot];
  const uint64_t used[] = {description.request_bytes, description.response_bytes};
  for (int side = 0; side < 2; ++side) {
    if (used[side] > keep && area_bytes_ > keep) {
      const uint64_t area = RequestOffset(slot) + side * area_bytes_;
      fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(area + keep),
                static_cast<off_t>(area_bytes_ - keep));
      CORELANE_STEP();
    }
  }
  uint64_t expected = seen.Bits();
  CORELANE_STEP();
  const bool freed = words_[slot].compare_exchange_strong(expected, SlotWord{}.Bits());
  CORELANE_STEP();
  return freed;
}

void SharedChannel::Poke(uint32_t slot) const {
  std::atomic<uint32_t>& signal = descriptions_[slot].signal;
  CORELANE_STEP();
  if (signal.exchange(2) == 1) FutexWake(&signal, 1);
}

uint32_t SharedChannel::Reclaim(uint32_t owner) const {
  uint32_t reclaimed = 0;
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    while (true) {
      const SlotWord seen = SlotWord::Of(words_[slot].load());
      if (seen.owner != owner || seen.state == SlotState::kFree || seen.state == SlotState::kAbandoned) break;
      if (seen.state == SlotState::kRunning) {
        if (!Move(slot, seen, SlotState::kAbandoned)) continue;
      } else {
        if (!Free(slot, seen)) continue;
        if (seen.state == SlotState::kQueued) header_->counters.cancelled.fetch_add(1);
      }
      ++reclaimed;
      break;
    }
  }
  return reclaimed;
}

void SharedChannel::MarkDead() const {
  header_->phase.store(kDead);
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    Poke(slot);
  }
}

bool SharedChannel::CloseIfIdle() const {
  const auto idle = [this] {
    for (uint32_t slot = 0; slot < slots_; ++slot) {
      if (SlotWord::Of(words_[slot].load()).state != SlotState::kFree) return false;
    }
    return true;
  };
  // A gateway claims first and looks at the phase second, so one of the two sees the other.
  if (!idle()) return false;
  header_->phase.store(kClosed);
  return idle();
}

ChannelStatistics SharedChannel::Statistics() const {
  const ChannelCounters& counters = header_->counters;
  ChannelStatistics statistics{};
  statistics.accepted = counters.accepted.load();
  statistics.answered = counters.answered.load();
  statistics.failed = counters.failed.load();
  statistics.expired = counters.expired.load();
  statistics.cancelled = counters.cancelled.load();
  statistics.rejected = counters.rejected.load();
  statistics.through_python = counters.through_python.load();
  statistics.runs = counters.runs.load();
  statistics.decode_ns = counters.decode_ns.load();
  statistics.engine_ns = counters.engine_ns.load();
  statistics.encode_ns = counters.encode_ns.load();
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    const SlotState state = SlotWord::Of(words_[slot].load()).state;
    statistics.queued += state == SlotState::kQueued;
    statistics.running += state == SlotState::kRunning || state == SlotState::kAbandoned;
  }
  statistics.queue_us = Counts(header_->queue_time);
  statistics.run_us = Counts(header_->run_time);
  statistics.total_us = Counts(header_->total_time);
  return statistics;
}

ChannelDetails SharedChannel::Details() const {
  ChannelDetails details;
  const CallCounters& calls = header_->calls;
  for (const auto& count : calls.assigned) details.assigned.push_back(count.load());
  for (uint32_t method = 0; method < kMethods; ++method) {
    for (uint32_t entry = 0; entry < kEntries; ++entry) {
      for (uint32_t code = 0; code < kCodes; ++code) {
        const uint64_t count = calls.codes[method][entry][code].load();
        if (count != 0) details.codes.push_back({method, entry, code, count});
      }
      if (calls.codes[method][entry][0].load() != 0) {
        details.latency.push_back({method, entry, WithSum(calls.latency[method][entry])});
      }
    }
  }
  for (const SignatureCounters& signature : header_->signatures) {
    if (signature.name[0] == 0) break;
    details.signatures.push_back({std::string(signature.name, strnlen(signature.name, sizeof(signature.name))),
                                  signature.answered.load(), signature.failed.load(), WithSum(signature.run_time)});
  }
  details.queue = WithSum(header_->queue_time);
  details.run = WithSum(header_->run_time);
  details.total = WithSum(header_->total_time);
  details.gate = WithSum(header_->gate_time);
  return details;
}

void SharedChannel::NameSignatures(const std::vector<std::string>& names) const {
  for (size_t index = 0; index < names.size() && index < kSignaturesMax; ++index) {
    const bool others = index == kSignaturesMax - 1 && names.size() > kSignaturesMax;
    const std::string& name = others ? std::string("(others)") : names[index];
    std::strncpy(header_->signatures[index].name, name.c_str(), sizeof(SignatureCounters::name) - 1);
  }
}

std::string SharedChannel::CheckIntegrity() const {
  std::vector<uint64_t> tickets;
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    const SlotWord word = SlotWord::Of(words_[slot].load());
    const std::string name = "slot " + std::to_string(slot);
    if (word.state > SlotState::kAbandoned) return name + " is in no state";
    if ((word.state == SlotState::kFree) != (word.owner == 0)) return name + " is free and owned, or neither";
    if (word.ticket > header_->next_ticket.load()) return name + " has a ticket that was never given out";
  }
  const ChannelStatistics now = Statistics();
  const uint64_t ended = now.answered + now.failed + now.expired + now.cancelled;
  if (now.accepted != ended + now.queued + now.running) {
    return std::to_string(now.accepted) + " accepted, but " + std::to_string(ended) + " ended, " +
           std::to_string(now.queued) + " wait and " + std::to_string(now.running) + " run";
  }
  return "";
}

}  // namespace corelane
