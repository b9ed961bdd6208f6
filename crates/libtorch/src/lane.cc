#include "lane.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace cresset {

Pinned Pinned::allocate(at::DeviceType type, size_t bytes) {
  auto memory = at::globalContext().getPinnedMemoryAllocator(type)->allocate(bytes);
  Pinned pinned{memory.get(), nullptr, memory.get_deleter()};
  pinned.context = memory.release_context();
  return pinned;
}

void Pinned::release() const noexcept {
  // By hand, because a DataPtr frees in its destructor: an exception of the
  // allocator would end the process there.
  try {
    if (context != nullptr && give_back != nullptr) {
      give_back(context);
    }
  } catch (...) {
  }
}

std::mutex& Lane::mutex() {
  static std::mutex mutex;
  return mutex;
}

std::unordered_map<at::Device, std::vector<Lane::Streams>>& Lane::left() {
  static std::unordered_map<at::Device, std::vector<Streams>> left;
  return left;
}

Lane::Lane(at::Device device) : device_(device) {
  if (device.is_cpu()) {
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex());
    auto& free = left()[device];
    if (!free.empty()) {
      streams_ = free.back();
      free.pop_back();
      return;
    }
  }
  const c10::DeviceGuard on(device);
  const c10::impl::VirtualGuardImpl guard(device.type());
  streams_ = Streams{guard.getNewStream(device), guard.getNewStream(device), guard.getNewStream(device)};
}

Lane::~Lane() {
  if (streams_) {
    const std::lock_guard<std::mutex> lock(mutex());
    left()[device_].push_back(*streams_);
  }
}

std::vector<at::Tensor> Lane::copy_in(const std::vector<at::Tensor>& host) {
  std::vector<at::Tensor> given;
  given.reserve(host.size());
  if (!streams_) {
    for (const auto& tensor : host) {
      given.push_back(tensor.clone(at::MemoryFormat::Contiguous));
    }
    return given;
  }
  {
    const c10::StreamGuard on(streams_->in);
    for (const auto& tensor : host) {
      given.push_back(tensor.to(device_, /*non_blocking=*/true, /*copy=*/true));
    }
  }
  c10::Event there(device_.type());
  there.record(streams_->in);
  there.block(streams_->compute);
  return given;
}

std::unique_ptr<c10::StreamGuard> Lane::computing() {
  return streams_ ? std::make_unique<c10::StreamGuard>(streams_->compute) : nullptr;
}

std::optional<c10::Event> Lane::copy_out(std::vector<Output>& outputs, bool changing,
                                         std::vector<at::Tensor>& kept) {
  if (!streams_) {
    for (auto& output : outputs) {
      output.tensor = dense(output.tensor).clone(at::MemoryFormat::Contiguous);
    }
    return std::nullopt;
  }
  {
    // Making them dense is part of computing.
    const auto on = computing();
    for (auto& output : outputs) {
      output.tensor = dense(output.tensor);
      if (changing) {
        output.tensor = output.tensor.clone(at::MemoryFormat::Contiguous);
      }
      kept.push_back(output.tensor);
    }
  }
  c10::Event computed(device_.type());
  computed.record(streams_->compute);
  computed.block(streams_->out);

  const c10::StreamGuard on(streams_->out);
  for (auto& output : outputs) {
    const auto from = output.tensor;
    if (from.device().is_cpu() || from.numel() == 0) {
      output.tensor = from.to(at::kCPU);  // none, or the model brought it back by itself
      continue;
    }
    const auto pinned = Pinned::allocate(device_.type(), from.nbytes());
    const auto options = at::TensorOptions().dtype(from.scalar_type());
    output.tensor = at::from_blob(pinned.start, from.sizes(), [pinned](void*) { pinned.release(); }, options);
    output.tensor.copy_(from, /*non_blocking=*/true);
  }
  std::optional<c10::Event> landed(std::in_place, device_.type());
  landed->record(streams_->out);
  return landed;
}

void Lane::settle() noexcept {
  if (!streams_) {
    return;
  }
  for (const auto& stream : {streams_->in, streams_->compute, streams_->out}) {
    try {
      c10::impl::VirtualGuardImpl(device_.type()).synchronizeStream(stream);
    } catch (...) {
      // The device has failed: it does no more work.
    }
  }
}

void wait_for(const c10::Event& event) {
  using std::chrono::microseconds;
  using std::chrono::steady_clock;
  const auto start = steady_clock::now();
  while (!event.query()) {
    const auto waited = steady_clock::now() - start;
    if (waited < microseconds(100)) {
      std::this_thread::yield();
    } else {
      // At most a tenth too late, and never more than a tenth of a millisecond.
      const auto nap = std::chrono::duration_cast<microseconds>(waited / 10);
      std::this_thread::sleep_for(std::clamp(nap, microseconds(10), microseconds(100)));
    }
  }
}

}  // namespace cresset
