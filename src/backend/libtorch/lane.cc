#include "lane.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace cresset {
namespace {

// The allocator must not hand this memory to others before the stream, which
// isn't the one that it was allocated on, is done with it.
void keep_for(const at::Tensor& tensor, const c10::Stream& stream) {
  const c10::impl::VirtualGuardImpl guard(stream.device_type());
  guard.recordDataPtrOnStream(tensor.storage().data_ptr(), stream);
}

}  // namespace

Lane::Lane(at::Device device) : device_(device) {
  if (device.is_cpu()) {
    return;
  }
  const c10::DeviceGuard on(device);
  const c10::impl::VirtualGuardImpl guard(device.type());
  streams_ = Streams{guard.getNewStream(device), guard.getNewStream(device), guard.getNewStream(device)};
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
  for (const auto& tensor : given) {
    keep_for(tensor, streams_->compute);
  }
  return given;
}

std::unique_ptr<c10::StreamGuard> Lane::computing() {
  return streams_ ? std::make_unique<c10::StreamGuard>(streams_->compute) : nullptr;
}

std::optional<c10::Event> Lane::copy_out(std::vector<Output>& outputs) {
  if (!streams_) {
    for (auto& output : outputs) {
      output.tensor = dense(output.tensor).clone(at::MemoryFormat::Contiguous);
    }
    return std::nullopt;
  }
  {
    // Making them dense is computing still.
    const auto on = computing();
    for (auto& output : outputs) {
      output.tensor = dense(output.tensor);
    }
  }
  c10::Event computed(device_.type());
  computed.record(streams_->compute);
  computed.block(streams_->out);

  const c10::StreamGuard on(streams_->out);
  for (auto& output : outputs) {
    if (output.tensor.device().is_cpu()) {
      continue;  // the model brought it back by itself
    }
    const auto options = output.tensor.options().device(at::kCPU).pinned_memory(true);
    auto host = at::empty(output.tensor.sizes(), options);
    host.copy_(output.tensor, /*non_blocking=*/true);
    keep_for(output.tensor, streams_->out);
    output.tensor = std::move(host);
  }
  std::optional<c10::Event> landed(std::in_place, device_.type());
  landed->record(streams_->out);
  return landed;
}

void Lane::settle() noexcept {
  if (!streams_) {
    return;
  }
  try {
    const c10::impl::VirtualGuardImpl guard(device_.type());
    guard.synchronizeStream(streams_->in);
  } catch (...) {
    // The device has failed: it reads nothing any more.
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
      // At most a tenth too late, and never more than a tenth of a
      // millisecond.
      const auto nap = std::chrono::duration_cast<microseconds>(waited / 10);
      std::this_thread::sleep_for(std::clamp(nap, microseconds(10), microseconds(100)));
    }
  }
}

}  // namespace cresset
