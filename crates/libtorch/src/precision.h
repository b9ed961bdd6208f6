// A module that computes in another precision or memory layout than its file
// holds: its weights, its inputs and its outputs.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <torch/csrc/jit/api/module.h>

#include "shim.h"

namespace cresset {

// The type of a floating result.
struct OutputType {
  std::string name;
  size_t index;
  at::ScalarType type;
};

// The default converts nothing, and costs nothing on a request's path.
struct Precision {
  std::optional<at::ScalarType> weights;
  std::optional<at::ScalarType> autocast;
  bool channels_last = false;
  std::vector<OutputType> outputs;

  explicit Precision(const CressetPrecision& asked);
};

// Converts the module's tensors; to be called before freezing, which makes
// constants of them.
void convert(torch::jit::Module& module, const Precision& precision);

// An input as the converted module takes it: the same tensor if no conversion
// is needed.
at::Tensor prepared(at::Tensor input, const Precision& precision);

// A result as the configuration declares it, found by its name or else by its
// position: the same tensor if no conversion is needed.
at::Tensor restored(at::Tensor output, const std::optional<std::string>& name, size_t index,
                    const Precision& precision);

// libtorch's autocast on this thread for as long as it lives, if asked for.
class Autocast {
 public:
  Autocast(const Precision& precision, at::Device device);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  const bool active_;
  const at::DeviceType device_;
  bool enabled_before_ = false;
  bool cache_before_ = false;
  at::ScalarType type_before_ = at::kFloat;
};

}  // namespace cresset
