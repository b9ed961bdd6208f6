#include "shim.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

struct cresset_module {
  torch::jit::Module module;
  std::string arguments;
  std::optional<std::string> stateful;
};

struct cresset_outputs {
  struct Output {
    std::string name;
    std::unique_ptr<at::Tensor> tensor;
  };
  std::vector<Output> outputs;
};

namespace {

char* text(const std::string& message) {
  char* copy = static_cast<char*>(std::malloc(message.size() + 1));
  if (copy != nullptr) std::memcpy(copy, message.c_str(), message.size() + 1);
  return copy;
}

// Runs `body`; whatever it throws becomes a message.
template <typename Body>
char* guarded(Body&& body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return text(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return text(error.what());
  } catch (...) {
    return text("an exception that is no std::exception");
  }
}

c10::Device device(int32_t type, int32_t index) {
  return c10::Device(static_cast<c10::DeviceType>(type), static_cast<c10::DeviceIndex>(index));
}

// The nodes of a block and of the blocks inside it.
template <typename Visit>
void each_node(torch::jit::Block* block, const Visit& visit) {
  for (torch::jit::Node* node : block->nodes()) {
    visit(node);
    for (torch::jit::Block* inner : node->blocks()) each_node(inner, visit);
  }
}

// Which attribute forward writes to: by assignment, or in place through an
// alias of it (`self.total.add_(x)` has no assignment).
std::optional<std::string> written_attribute(const torch::jit::Module& module) {
  auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  std::optional<std::string> written;
  std::vector<std::pair<torch::jit::Value*, std::string>> attributes;
  each_node(graph->block(), [&](torch::jit::Node* node) {
    if (node->kind() == c10::prim::SetAttr && !written) {
      written = node->s(c10::attr::name);
    } else if (node->kind() == c10::prim::GetAttr && !node->output()->type()->cast<c10::ClassType>()) {
      attributes.emplace_back(node->output(), node->s(c10::attr::name));
    }
  });
  if (written || attributes.empty()) return written;
  torch::jit::AliasDb aliases(graph);
  each_node(graph->block(), [&](torch::jit::Node* node) {
    if (written) return;
    for (const auto& [value, name] : attributes) {
      if (aliases.writesToAlias(node, {value})) {
        written = name;
        return;
      }
    }
  });
  return written;
}

std::string describe_arguments(const torch::jit::Module& module) {
  std::string lines;
  const auto& arguments = module.get_method("forward").function().getSchema().arguments();
  for (size_t index = 1; index < arguments.size(); ++index) {
    const auto& argument = arguments[index];
    lines += argument.name() + '\t' + argument.type()->annotation_str() + '\t' +
             (argument.default_value() ? '1' : '0') + '\n';
  }
  return lines;
}

// Flattens what forward returned; a position or a key joins the path.
void flatten(const c10::IValue& value, const std::string& path, bool named, cresset_outputs& out) {
  const auto inner = [&](const std::string& key) { return path.empty() ? key : path + '.' + key; };
  const auto leaf = [&](at::Tensor tensor) {
    out.outputs.push_back({named ? path : std::string(), std::make_unique<at::Tensor>(std::move(tensor))});
  };
  if (value.isTensor()) {
    leaf(value.toTensor());
  } else if (value.isTuple() || value.isList()) {
    size_t index = 0;
    // Positions alone name nothing: the outputs of a tuple go by their order.
    const auto each = [&](const c10::IValue& element) {
      flatten(element, inner(std::to_string(index++)), named, out);
    };
    if (value.isTuple()) {
      for (const auto& element : value.toTupleRef().elements()) each(element);
    } else {
      for (const c10::IValue& element : value.toListRef()) each(element);
    }
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      const std::string key = entry.key().isString() ? entry.key().toStringRef() : c10::str(entry.key());
      flatten(entry.value(), inner(key), true, out);
    }
  } else if (value.isDouble()) {
    leaf(at::scalar_tensor(value.toDouble(), at::kDouble));
  } else if (value.isInt()) {
    leaf(at::scalar_tensor(value.toInt(), at::kLong));
  } else if (value.isBool()) {
    leaf(at::scalar_tensor(value.toBool(), at::kBool));
  } else {
    TORCH_CHECK(false, "the model returned ", value.tagKind(), path.empty() ? "" : " at " + path,
                ": only tensors and numbers, and tuples, lists and dictionaries of them, can be served");
  }
}

// Whether two ranges of memory meet.
bool overlaps(const at::Tensor& tensor, const cresset_input& input, size_t bytes) {
  const char* begin = static_cast<const char*>(tensor.const_data_ptr());
  const char* start = static_cast<const char*>(input.data);
  return begin < start + bytes && start < begin + tensor.nbytes();
}

}  // namespace

extern "C" {

void cresset_text_free(char* text) { std::free(text); }

char* cresset_module_load(const char* path, int32_t device_type, int32_t device_index, int32_t freeze,
                          cresset_module** out) {
  return guarded([&] {
    auto loaded = std::make_unique<cresset_module>();
    // Loaded, frozen and run in one mode: a module that was first run with
    // gradients keeps asking for them.
    c10::InferenceMode inference;
    loaded->module = torch::jit::load(path, device(device_type, device_index));
    loaded->module.eval();
    TORCH_CHECK(loaded->module.find_method("forward"), "the module has no method 'forward'");
    loaded->arguments = describe_arguments(loaded->module);
    loaded->stateful = written_attribute(loaded->module);
    if (freeze != 0 && !loaded->stateful) {
      try {
        loaded->module = torch::jit::freeze(loaded->module);
      } catch (const std::exception&) {
        // Some modules can't be frozen; they are served as they are.
      }
    }
    *out = loaded.release();
  });
}

void cresset_module_free(cresset_module* module) { delete module; }

char* cresset_module_arguments(const cresset_module* module, char** out) {
  return guarded([&] { *out = text(module->arguments); });
}

const char* cresset_module_stateful(const cresset_module* module) {
  return module->stateful ? module->stateful->c_str() : nullptr;
}

char* cresset_module_forward(cresset_module* module, const cresset_run* run, const cresset_input* inputs,
                             size_t count, cresset_outputs** out) {
  return guarded([&] {
    std::optional<c10::InferenceMode> inference;
    std::optional<at::NoGradGuard> no_grad;
    if (run->inference_mode != 0) {
      inference.emplace();
    } else {
      no_grad.emplace();
    }
    const c10::Device target = device(run->device_type, run->device_index);
    std::vector<c10::IValue> stack;
    std::vector<size_t> sizes;
    c10::Dict<std::string, at::Tensor> dictionary;
    for (size_t index = 0; index < count; ++index) {
      const cresset_input& input = inputs[index];
      at::Tensor tensor = at::from_blob(input.data, at::IntArrayRef(input.shape, input.rank),
                                        at::TensorOptions(static_cast<c10::ScalarType>(input.scalar_type)));
      sizes.push_back(tensor.nbytes());
      if (!target.is_cpu()) tensor = tensor.to(target);
      if (run->dictionary != 0) {
        dictionary.insert(input.name, tensor);
      } else {
        stack.emplace_back(std::move(tensor));
      }
    }
    if (run->dictionary != 0) stack.emplace_back(std::move(dictionary));
    const c10::IValue result = module->module.forward(std::move(stack));

    auto outputs = std::make_unique<cresset_outputs>();
    flatten(result, "", false, *outputs);
    for (auto& output : outputs->outputs) {
      at::Tensor& tensor = *output.tensor;
      TORCH_CHECK(tensor.layout() == at::kStrided && !tensor.is_quantized(),
                  "the model returned a sparse or quantised tensor: only dense ones can be served");
      const at::Tensor whole = tensor.to(at::kCPU).resolve_conj().resolve_neg().contiguous();
      bool shared = run->keep_apart != 0 && whole.is_same(tensor);
      // The inputs' memory is written again for the next batch.
      for (size_t index = 0; index < count && !shared; ++index) shared = overlaps(whole, inputs[index], sizes[index]);
      tensor = shared ? whole.clone() : whole;
    }
    *out = outputs.release();
  });
}

size_t cresset_outputs_count(const cresset_outputs* outputs) { return outputs->outputs.size(); }

const char* cresset_outputs_name(const cresset_outputs* outputs, size_t index) {
  const std::string& name = outputs->outputs[index].name;
  return name.empty() ? nullptr : name.c_str();
}

void* cresset_outputs_take(cresset_outputs* outputs, size_t index) {
  return outputs->outputs[index].tensor.release();
}

void cresset_outputs_free(cresset_outputs* outputs) { delete outputs; }

}  // extern "C"
