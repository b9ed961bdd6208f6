// An instance's way to its device and back: copies in, forward and copies out,
// each on its own stream, so that successive batches overlap. The processors
// have no streams, but the copies are made all the same.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/StreamGuard.h>

#include "outputs.h"

namespace cresset {

class Lane {
 public:
  // Takes streams that an earlier lane has left, or new ones.
  explicit Lane(at::Device device);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // The same tensors on the device. The host's memory is read until their
  // results have landed, and the caller keeps the tensors until then. The
  // reason: no stream is registered with the allocator. It would have to record
  // events when the tensors are freed, which throws on a failed device.
  std::vector<at::Tensor> copy_in(const std::vector<at::Tensor>& host);

  // While it lives, the thread's work on the device comes after the copies in.
  // Null on the processors.
  std::unique_ptr<c10::StreamGuard> computing();

  // Replaces the computed outputs by copies on the host, in pinned memory for a
  // device. Their bytes are there once the returned event has occurred; if
  // there is none, at once. `kept` gets the sources of the copies, which must
  // live until then. If `changing`, outputs may be attributes that the next
  // batch writes to, and are copied before it computes.
  std::optional<c10::Event> copy_out(std::vector<Output>& outputs, bool changing, std::vector<at::Tensor>& kept);

  // Waits until no work is left on the streams. Never throws.
  void settle() noexcept;

 private:
  struct Streams {
    c10::Stream in;
    c10::Stream compute;
    c10::Stream out;
  };

  static std::mutex& mutex();
  // The streams that earlier lanes of each device have left. They are reused,
  // because libtorch keeps memory for each stream that ever computed.
  static std::unordered_map<at::Device, std::vector<Streams>>& left();

  at::Device device_;
  std::optional<Streams> streams_;
};

// Waits for an event without occupying a processor for long. A short wait ends
// at once; a long one polls every tenth of a millisecond.
void wait_for(const c10::Event& event);

// Pinned memory. `release` returns it and never throws: on a failed device it
// stays allocated.
struct Pinned {
  void* start;
  void* context;
  c10::DeleterFnPtr give_back;

  static Pinned allocate(at::DeviceType type, size_t bytes);
  void release() const noexcept;
};

}  // namespace cresset
