// An instance's way to its device and back: copies in, forward and copies out,
// each on a stream of its own, so that those of successive batches overlap.
// On the processors there are no streams: the copies are made all the same.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
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
  // Takes streams that a lane before has left, or new ones.
  explicit Lane(at::Device device);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // The same tensors on the device. Their memory on the host is read until
  // what comes of them has landed; whoever gets them keeps them until then,
  // because no stream is told to the allocator: it would have to record events
  // when they are freed, which throws on a device that has failed.
  std::vector<at::Tensor> copy_in(const std::vector<at::Tensor>& host);

  // While this lives, what the thread does on the device comes after the
  // copies in. Null on the processors.
  std::unique_ptr<c10::StreamGuard> computing();

  // Puts copies on the host, pinned for a device, in the place of the outputs
  // that computing made. Their bytes are there once the event has come to
  // pass; at once where there is none. `kept` gets what is copied from, which
  // must live until then. Where `changing`, outputs may be attributes that the
  // next batch writes to, and are copied before it computes.
  std::optional<c10::Event> copy_out(std::vector<Output>& outputs, bool changing, std::vector<at::Tensor>& kept);

  // Waits until nothing on the streams is under way any more. Never throws.
  void settle() noexcept;

 private:
  struct Streams {
    c10::Stream in;
    c10::Stream compute;
    c10::Stream out;
  };

  static std::mutex& mutex();
  // What lanes of each device have left: libtorch keeps memory for each stream
  // that ever computed.
  static std::map<int, std::vector<Streams>>& left();

  at::Device device_;
  std::optional<Streams> streams_;
};

// Waits for an event without holding a processor for long: what comes soon is
// met at once, what takes long costs a look every tenth of a millisecond.
void wait_for(const c10::Event& event);

// Pinned memory; `release` gives it back and never throws: on a device that has
// failed it stays taken.
struct Pinned {
  void* start;
  void* context;
  c10::DeleterFnPtr give_back;

  static Pinned allocate(at::DeviceType type, size_t bytes);
  void release() const noexcept;
};

}  // namespace cresset
