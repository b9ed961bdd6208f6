// Memory of CUDA devices in libtorch's caching allocator. It uses the interface
// of every device's allocator, so it needs no header of CUDA, and has no effect
// if CUDA isn't opened.
#pragma once

#include <cstdint>
#include <string>

namespace cresset {

struct DeviceMemory {
  // In tensors.
  uint64_t allocated = 0;
  // Taken from the device: in tensors, or kept for the next ones.
  uint64_t reserved = 0;
};

// For the CUDA device of this number; zeros before its first use.
DeviceMemory device_memory(int32_t device);

// Returns unused memory to every CUDA device.
void empty_caches();

// Makes the allocator use these settings, which the environment holds already.
// If this is the first call that needs them, libtorch reads them now; else they
// are set again. Throws what is wrong with them.
void use_allocator_settings(const std::string& settings);

}  // namespace cresset
