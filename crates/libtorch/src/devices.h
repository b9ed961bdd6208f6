// The devices named in a module's code.
#pragma once

#include <string>
#include <vector>

#include <c10/core/Device.h>
#include <torch/csrc/jit/api/module.h>

namespace cresset {

// Replaces every accelerator that the code names by `target`: a trace made on a
// GPU contains the GPU's number, while weights and constants went to the target
// when the file was read. Names of the processors stay if the target is a GPU:
// some are intended.
//
// To be called before anything is frozen, analysed or run. Returns a line for
// each fact that an operator should know.
std::vector<std::string> settle_devices(const torch::jit::Module& module, c10::Device target);

}  // namespace cresset
