// The values that a module's forward writes to, other than those it makes.
#pragma once

#include <optional>
#include <string>

#include <torch/csrc/jit/api/module.h>

namespace cresset {

struct Writes {
  // Why the module can't be shared or batched across requests: it changes its
  // own attributes, or constants of its code.
  std::optional<std::string> own;
  // Whether it may change its arguments in place.
  bool arguments = false;
  // Whether it forks tasks, which run on libtorch's threads.
  bool forks = false;
};

// To be called before freezing, for a module in eval mode. When in doubt it
// reports that the module writes.
Writes writes(const torch::jit::Module& module);

}  // namespace cresset
