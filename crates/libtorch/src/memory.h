// Memory of accelerators in libtorch's caching allocators. It uses the interface
// of every kind's allocator, so it needs no header of any, and has no effect on a
// kind whose library isn't open.
#pragma once

#include <cstdint>
#include <string>

#include <c10/core/Device.h>

namespace cresset {

struct DeviceMemory {
  // In tensors.
  uint64_t allocated = 0;
  // Taken from the device: in tensors, or kept for the next ones.
  uint64_t reserved = 0;
};

// Zeros before the device's first use.
DeviceMemory device_memory(c10::Device device);

// Returns unused memory to every device of this type.
void empty_caches(c10::DeviceType type);

// Makes the allocator use these settings, which the environment holds already.
// If this is the first call that needs them, libtorch reads them now; else they
// are set again. Throws what is wrong with them.
void use_allocator_settings(const std::string& settings);

}  // namespace cresset
