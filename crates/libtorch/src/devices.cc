#include "devices.h"

#include <optional>
#include <set>

#include <ATen/DeviceAccelerator.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

namespace cresset {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;
namespace prim = c10::prim;
namespace aten = c10::aten;
namespace attr = c10::attr;

// The devices found, by name, so that each is reported once.
struct Found {
  std::set<std::string> replaced;
  std::set<std::string> processors;
};

template <typename T>
std::optional<T> constant(const Value* value) {
  return torch::jit::constant_as<T>(value);
}

// The device of a node, if it is always the same: a constant, or as a file
// spells one, `torch.device("cuda:0")` and `torch.device("cuda", 0)`.
std::optional<c10::Device> device_of(const Node* node) {
  if (node->outputs().size() != 1) {
    return std::nullopt;
  }
  if (node->kind() == prim::Constant) {
    return node->output()->type()->kind() == c10::TypeKind::DeviceObjType ? constant<c10::Device>(node->output())
                                                                         : std::nullopt;
  }
  if (node->kind() != aten::device || node->inputs().empty()) {
    return std::nullopt;
  }
  const auto text = constant<std::string>(node->input(0));
  if (!text) {
    return std::nullopt;
  }
  try {
    c10::Device device(*text);
    if (node->inputs().size() == 2) {
      const auto index = constant<int64_t>(node->input(1));
      if (!index) {
        return std::nullopt;
      }
      device.set_index(static_cast<c10::DeviceIndex>(*index));
    }
    return device;
  } catch (const std::exception&) {
    return std::nullopt;  // a name that is none fails when it is reached
  }
}

// "cuda" without a number is the target already: the thread that runs the
// module has its number set.
bool is_the_target(c10::Device named, c10::Device target) {
  return named == target || (named.type() == target.type() && !named.has_index());
}

void settle_node(Graph& graph, Node* node, c10::Device target, Found& found) {
  const torch::jit::WithInsertPoint here(node);
  if (const auto named = device_of(node)) {
    if (at::accelerator::isAccelerator(named->type()) && !is_the_target(*named, target)) {
      found.replaced.insert(named->str());
      node->output()->replaceAllUsesWith(graph.insertConstant(target));
    } else if (named->is_cpu() && !target.is_cpu() && node->output()->hasUses()) {
      found.processors.insert(named->str());
    }
    return;
  }
  // `x.cuda()` of a script, which knows no other kind.
  static const auto cuda = c10::Symbol::fromQualString("aten::cuda");
  if (node->kind() == cuda && !target.is_cuda()) {
    found.replaced.insert("cuda");
    Value* moved = graph.insert(aten::to, {node->input(0), graph.insertConstant(target)});
    node->output()->replaceAllUsesWith(moved);
  }
}

void settle_block(Graph& graph, Block* block, c10::Device target, Found& found) {
  for (Node* node : block->nodes()) {
    for (Block* inner : node->blocks()) {
      settle_block(graph, inner, target, found);
    }
    // The graphs of forked tasks.
    for (const auto name : node->attributeNames()) {
      if (node->kindOf(name) == torch::jit::AttributeKind::g) {
        const auto task = node->g(name);
        settle_block(*task, task->block(), target, found);
      }
    }
    settle_node(graph, node, target, found);
  }
}

std::string listed(const std::set<std::string>& names) {
  std::string text;
  for (const auto& name : names) {
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

}  // namespace

std::vector<std::string> settle_devices(const torch::jit::Module& module, c10::Device target) {
  Found found;
  // All functions of the file: methods of each submodule, and free functions.
  for (auto* function : module._ivalue()->compilation_unit()->get_functions()) {
    auto* with_graph = torch::jit::tryToGraphFunction(*function);
    if (with_graph == nullptr) {
      continue;
    }
    with_graph->ensure_defined();
    const auto graph = with_graph->graph();
    settle_block(*graph, graph->block(), target, found);
  }
  std::vector<std::string> notes;
  if (!found.replaced.empty()) {
    notes.push_back(
        "its code names " + listed(found.replaced) + ", where it was traced or scripted; it runs on " +
        target.str() + ", which was put in that place");
  }
  if (!found.processors.empty()) {
    notes.push_back(
        "its code names " + listed(found.processors) + " and it runs on " + target.str() +
        ": what it makes there is on the CPU, which is slow, or fails if it meets the rest; export the model on a "
        "GPU, or make its tensors with device=x.device");
  }
  return notes;
}

}  // namespace cresset
