// libtorch's part for CUDA, as far as Cresset asks for it where nothing computes on a GPU: stands in for
// libtorch_cuda.so in tests/e2e/devices.rs. It says that there are two devices, and its allocator tells by
// its sums what was asked of it: "allocated" is how often caches were emptied, "reserved" the size in bytes
// that the setting max_split_size_mb gave.

#include <atomic>
#include <stdexcept>
#include <string>

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/AllocatorConfig.h>
#include <c10/core/CachingDeviceAllocator.h>

namespace {

// By its name libtorch finds it.
struct CUDAHooks : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  bool hasCUDA() const override { return true; }
  at::DeviceIndex deviceCount() const override { return 2; }
  int getNumGPUs() const override { return 2; }
};

struct Allocator final : c10::DeviceAllocator {
  std::atomic<int64_t> emptied{0};

  c10::DataPtr allocate(size_t) override { throw std::runtime_error("there is no such device"); }
  void copy_data(void*, const void*, std::size_t) const override {}
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override { emptied += 1; }
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override {}

  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    c10::CachingDeviceAllocator::DeviceStats stats;
    const auto split = c10::CachingAllocator::AcceleratorAllocatorConfig::max_split_size();
    stats.allocated_bytes[0].current = emptied + 1000 * device;
    stats.reserved_bytes[0].current = static_cast<int64_t>(split);
    return stats;
  }
};

Allocator allocator;
REGISTER_ALLOCATOR(c10::kCUDA, &allocator)

// CUDA has a key of its own, whose value is checked by CUDA.
void parse(const std::string& settings) {
  if (settings.find("backend:nonsense") != std::string::npos) {
    throw std::runtime_error("Unknown allocator backend, options are native and cudaMallocAsync");
  }
}
c10::CachingAllocator::DeviceConfigParserHookRegistry keys(&parse, {"backend"});

}  // namespace

namespace at {
using ::CUDAHooks;
REGISTER_CUDA_HOOKS(CUDAHooks)
}  // namespace at
