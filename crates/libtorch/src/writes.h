// What a module's forward writes to, beyond what it makes itself.
#pragma once

#include <optional>
#include <string>

#include <torch/csrc/jit/api/module.h>

namespace cresset {

struct Writes {
  // Why the module can't be shared or batched across callers: it changes its
  // own attributes, or constants of its code.
  std::optional<std::string> own;
  // Whether it may change its arguments in place.
  bool arguments = false;
  // Whether it forks tasks, which run on threads of libtorch's.
  bool forks = false;
};

// To be asked before freezing, of a module in eval mode. Errs on the side of
// saying that it writes.
Writes writes(const torch::jit::Module& module);

}  // namespace cresset
