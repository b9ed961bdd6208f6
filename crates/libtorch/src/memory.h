// Memory of CUDA devices, as libtorch's caching allocator keeps it. Through
// what every device's allocator answers to, so that no header of CUDA's is
// needed and nothing is asked of it where it wasn't opened.
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

// Of the CUDA device of this number; nothing before the first use of one.
DeviceMemory device_memory(int32_t device);

// Gives what no tensor is in back to every CUDA device.
void empty_caches();

// Sees to it that the allocator has these settings, which stand in the
// environment already: libtorch reads them with the first call that needs
// them, which this is, else they are set once more. Throws what is wrong with
// them.
void use_allocator_settings(const std::string& settings);

}  // namespace cresset
