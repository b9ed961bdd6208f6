#include "writes.h"

#include <memory>
#include <unordered_set>

#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/inliner.h>

namespace cresset {
namespace {

using torch::jit::AliasDb;
using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Module;
using torch::jit::Node;
using torch::jit::Value;
namespace prim = c10::prim;
namespace attr = c10::attr;

template <typename Visit>
void each_node(Block* block, const Visit& visit) {
  for (Node* node : block->nodes()) {
    visit(node);
    for (Block* inner : node->blocks()) {
      each_node(inner, visit);
    }
  }
}

bool is_module(const c10::TypePtr& type) {
  const auto as_class = type->cast<c10::ClassType>();
  return as_class && as_class->is_module();
}

// `encoder.cache` for a value that was read from the module attribute by
// attribute; nothing for other values.
std::optional<std::string> path_from(const Value* value, const Value* self) {
  if (value == self) {
    return "";
  }
  const Node* node = value->node();
  if (node->kind() != prim::GetAttr) {
    return std::nullopt;
  }
  auto owner = path_from(node->input(), self);
  if (!owner) {
    return std::nullopt;
  }
  return owner->empty() ? node->s(attr::name) : *owner + "." + node->s(attr::name);
}

// The object of the module that `value` is, if it is one.
std::optional<c10::IValue> object_at(const Value* value, const Value* self, const Module& module) {
  if (value == self) {
    return module._ivalue();
  }
  const Node* node = value->node();
  if (node->kind() != prim::GetAttr) {
    return std::nullopt;
  }
  const auto owner = object_at(node->input(), self, module);
  if (!owner || !owner->isObject()) {
    return std::nullopt;
  }
  return owner->toObject()->getAttr(node->s(attr::name));
}

// Replaces flags and numbers that are never set by their values, so that dead
// branches are removed: batch normalisation counts its batches only `if
// self.training`.
void fold_flags(const std::shared_ptr<Graph>& graph, const Module& module) {
  std::unordered_set<std::string> set;
  each_node(graph->block(), [&](Node* node) {
    if (node->kind() == prim::SetAttr) {
      set.insert(node->s(attr::name));
    }
  });
  const Value* self = graph->inputs().at(0);
  each_node(graph->block(), [&](Node* node) {
    if (node->kind() != prim::GetAttr || set.count(node->s(attr::name)) > 0) {
      return;
    }
    const auto value = object_at(node->output(), self, module);
    if (value && (value->isBool() || value->isInt() || value->isDouble())) {
      torch::jit::WithInsertPoint here(node);
      node->output()->replaceAllUsesWith(graph->insertConstant(*value));
    }
  });
  auto folded = graph;
  torch::jit::ConstantPropagationImmutableTypes(folded);
}

// Whether a node of the graph writes to a value in `container`: a tensor in a
// list or a dictionary is not an alias of the container itself.
bool content_has_writers(const std::shared_ptr<Graph>& graph, const AliasDb& aliases, Value* container) {
  bool found = false;
  each_node(graph->block(), [&](Node* node) {
    const auto* schema = node->maybeSchema();
    if (found || schema == nullptr || !schema->is_mutable()) {
      return;
    }
    for (size_t i = 0; i < schema->arguments().size() && i < node->inputs().size(); ++i) {
      const auto* info = schema->arguments()[i].alias_info();
      if (info != nullptr && info->isWrite() && aliases.mayContainAlias(container, node->input(i))) {
        found = true;
        return;
      }
    }
  });
  return found;
}

bool is_container(const c10::TypePtr& type) {
  return type->cast<c10::ListType>() || type->cast<c10::DictType>() || type->cast<c10::TupleType>();
}

std::string quoted(const std::optional<std::string>& path, const Node* node) {
  return "'" + path.value_or(node->s(attr::name)) + "'";
}

// `self` is null in the graph of a forked task, which gets it as an argument.
Writes writes_of(const std::shared_ptr<Graph>& graph, const Value* self) {
  Writes found;
  // "Frozen" makes each attribute that is read a separate value, instead of one
  // that any argument may alias.
  const AliasDb aliases(graph, /*isFrozen=*/true);
  each_node(graph->block(), [&](Node* node) {
    found.forks = found.forks || node->kind() == prim::fork || node->kind() == prim::awaitable;
    if (found.own) {
      return;
    }
    if (node->kind() == prim::SetAttr) {
      const Value* object = node->inputs().at(0);
      if (object->node()->kind() == prim::CreateObject) {
        return;  // made by this forward and freed with it
      }
      const auto owner = path_from(object, self);
      const auto path = owner && !owner->empty()
          ? std::optional<std::string>(*owner + "." + node->s(attr::name))
          : std::nullopt;
      found.own = "forward sets its attribute " + quoted(path, node);
    } else if (node->kind() == prim::GetAttr) {
      Value* value = node->output();
      const bool content = is_container(value->type()) && content_has_writers(graph, aliases, value);
      if (content || (!is_module(value->type()) && aliases.hasWriters(value))) {
        found.own = "forward changes its attribute " + quoted(path_from(value, self), node) + " in place";
      }
    } else if (node->kind() == prim::Constant) {
      if (node->outputs().size() == 1 && aliases.hasWriters(node->output())) {
        found.own = "forward changes a constant of its code in place";
      }
    } else if (node->kind() == prim::fork || node->kind() == prim::awaitable) {
      const auto task = node->g(attr::Subgraph);
      torch::jit::Inline(*task);
      const Writes inner = writes_of(task, nullptr);
      found.own = inner.own;
      if (!found.own && inner.arguments) {
        found.own = "a task that forward forks changes its arguments in place";
      }
    }
  });
  for (const Value* input : graph->inputs()) {
    if (!is_module(input->type()) && aliases.hasWriters(input)) {
      found.arguments = true;
    }
  }
  return found;
}

}  // namespace

Writes writes(const Module& module) {
  try {
    const auto graph = module.get_method("forward").graph()->copy();
    torch::jit::Inline(*graph);
    fold_flags(graph, module);
    return writes_of(graph, graph->inputs().at(0));
  } catch (const std::exception& error) {
    return {"forward can't be analysed: " + std::string(error.what()), true, true};
  }
}

}  // namespace cresset
