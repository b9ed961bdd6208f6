#include "memory.h"

#include <c10/core/AllocatorConfig.h>
#include <c10/core/CachingDeviceAllocator.h>

namespace cresset {
namespace {

// Null if the kind's library isn't open, and before its first use.
c10::DeviceAllocator* allocator(c10::DeviceType type) {
  auto* found = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(type));
  return found != nullptr && found->initialized() ? found : nullptr;
}

uint64_t bytes(const c10::CachingAllocator::StatArray& sums) {
  const auto now = sums[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].current;
  return now < 0 ? 0 : static_cast<uint64_t>(now);
}

}  // namespace

DeviceMemory device_memory(c10::Device device) {
  auto* from = allocator(device.type());
  if (from == nullptr) {
    return {};
  }
  const auto stats = from->getDeviceStats(device.index());
  return {bytes(stats.allocated_bytes), bytes(stats.reserved_bytes)};
}

void empty_caches(c10::DeviceType type) {
  if (auto* from = allocator(type)) {
    from->emptyCache();
  }
}

void use_allocator_settings(const std::string& settings) {
  using Config = c10::CachingAllocator::AcceleratorAllocatorConfig;
  if (c10::CachingAllocator::getAllocatorSettings() == settings) {
    // The kind's own keys: for the parser that its library registered.
    Config::callDeviceConfigParserHook(settings);
  } else {
    c10::CachingAllocator::setAllocatorSettings(settings);
  }
}

}  // namespace cresset
