// The devices that a module's code names.
#pragma once

#include <string>

#include <torch/csrc/jit/api/module.h>

namespace cresset {

// `cuda:0`, a line each, in the order of the alphabet; empty where the code
// takes its device from its inputs and weights.
std::string devices(const torch::jit::Method& forward);

}  // namespace cresset
