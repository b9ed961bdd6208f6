#include "devices.h"

#include <set>

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>

namespace cresset {
namespace {

using torch::jit::Block;
using torch::jit::Node;

void collect(Block* block, std::set<std::string>& into) {
  for (Node* node : block->nodes()) {
    if (node->kind() == c10::prim::Constant && node->outputs().size() == 1) {
      const auto value = torch::jit::toIValue(node->output());
      if (value && value->isDevice()) {
        into.insert(value->toDevice().str());
      }
    } else if (node->kind() == c10::Symbol::fromQualString("aten::device") && !node->inputs().empty()) {
      // As a script spells it, until the graph is simplified.
      const auto name = torch::jit::toIValue(node->input(0));
      if (name && name->isString()) {
        into.insert(name->toStringRef());
      }
    }
    for (Block* inner : node->blocks()) {
      collect(inner, into);
    }
  }
}

}  // namespace

std::string devices(const torch::jit::Method& forward) {
  const auto graph = forward.graph()->copy();
  torch::jit::Inline(*graph);
  std::set<std::string> found;
  collect(graph->block(), found);
  std::string lines;
  for (const auto& device : found) {
    lines += lines.empty() ? device : "\n" + device;
  }
  return lines;
}

}  // namespace cresset
