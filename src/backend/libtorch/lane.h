// An instance's way to its device and back: copies in, forward and copies out,
// each on a stream of its own, so that those of successive batches overlap.
// On the processors there are no streams: the copies are made all the same.
#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/StreamGuard.h>

#include "outputs.h"

namespace cresset {

class Lane {
 public:
  explicit Lane(at::Device device);

  // The same tensors on the device. Their memory on the host is read until
  // what comes of them has landed.
  std::vector<at::Tensor> copy_in(const std::vector<at::Tensor>& host);

  // While this lives, what the thread does on the device comes after the
  // copies in. Null on the processors.
  std::unique_ptr<c10::StreamGuard> computing();

  // Puts copies on the host, pinned for a device, in the place of the outputs
  // that computing made. Their bytes are there once the event has come to
  // pass; at once where there is none.
  std::optional<c10::Event> copy_out(std::vector<Output>& outputs);

  // Waits until nothing is read from the host any more. Never throws.
  void settle() noexcept;

 private:
  struct Streams {
    c10::Stream in;
    c10::Stream compute;
    c10::Stream out;
  };

  at::Device device_;
  std::optional<Streams> streams_;
};

// Waits for an event without holding a processor for long: what comes soon is
// met at once, what takes long costs a look every tenth of a millisecond.
void wait_for(const c10::Event& event);

}  // namespace cresset
