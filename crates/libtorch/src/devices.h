// The devices named in a module's code.
#pragma once

#include <string>
#include <vector>

#include <c10/core/Device.h>
#include <torch/csrc/jit/api/module.h>

namespace cresset {

// Puts `target` in the place of every CUDA device that the code names and
// that isn't the target: whoever traces on a GPU writes its number down, while
// weights and constants went to the target when the file was read. Names of
// the processors stay where the target is a GPU: some are meant.
//
// To be called before anything is frozen, analysed or run. Gives a line for
// each thing that an operator should know.
std::vector<std::string> settle_devices(const torch::jit::Module& module, c10::Device target);

}  // namespace cresset
