#include "shim.h"

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <dlfcn.h>

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/tensorexpr_fuser.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/version.h>

#include "outputs.h"
#include "precision.h"
#include "writes.h"

// The numbers that scalar_type.rs writes down.
static_assert(static_cast<int>(at::kByte) == 0 && static_cast<int>(at::kChar) == 1);
static_assert(static_cast<int>(at::kShort) == 2 && static_cast<int>(at::kInt) == 3);
static_assert(static_cast<int>(at::kLong) == 4 && static_cast<int>(at::kHalf) == 5);
static_assert(static_cast<int>(at::kFloat) == 6 && static_cast<int>(at::kDouble) == 7);
static_assert(static_cast<int>(at::kBool) == 11 && static_cast<int>(at::kBFloat16) == 15);
static_assert(static_cast<int>(at::kUInt16) == 27 && static_cast<int>(at::kUInt32) == 28);
static_assert(static_cast<int>(at::kUInt64) == 29);

struct Argument {
  std::string name;
  std::string type;
  CressetArgumentKind kind;
  bool has_default;
};

struct CressetModule {
  torch::jit::Module module;
  torch::jit::Method forward;
  CressetOptions options;
  cresset::Precision precision;
  at::Device device;
  std::vector<Argument> arguments;
  std::optional<std::string> stateful;
  std::optional<std::string> not_frozen;
  // forward may write to its arguments: it gets copies.
  bool writes_arguments;
};

struct CressetOutputs {
  std::vector<cresset::Output> outputs;
  std::vector<CressetOutput> items;

  ~CressetOutputs() {
    for (auto& item : items) {
      delete static_cast<at::Tensor*>(item.tensor);
    }
  }
};

namespace {

// Runs `work`; whatever it throws becomes a status and a text.
template <typename Work>
CressetStatus guarded(char** error, const Work& work) noexcept {
  *error = nullptr;
  try {
    work();
    return CRESSET_OK;
  } catch (const std::bad_alloc&) {
    return CRESSET_OUT_OF_MEMORY;
  } catch (const std::exception& exception) {
    *error = strdup(exception.what());
  } catch (...) {
    *error = strdup("an exception of unknown type");
  }
  return CRESSET_FAILED;
}

// What is set on this thread while a module is loaded or runs.
class Setting {
 public:
  explicit Setting(const CressetOptions& options) : optimize_(options.optimized_execution != 0) {
    if (options.inference_mode != 0) {
      inference_mode_.emplace();
    } else {
      no_grad_.emplace();
    }
  }

 private:
  std::optional<c10::InferenceMode> inference_mode_;
  std::optional<at::NoGradGuard> no_grad_;
  torch::jit::GraphOptimizerEnabledGuard optimize_;
};

CressetArgumentKind kind_of(const c10::TypePtr& type) {
  if (const auto optional = type->cast<c10::OptionalType>()) {
    return optional->getElementType()->kind() == c10::TypeKind::TensorType ? CRESSET_TENSOR : CRESSET_OTHER;
  }
  if (type->kind() == c10::TypeKind::TensorType) {
    return CRESSET_TENSOR;
  }
  if (const auto dict = type->cast<c10::DictType>()) {
    const bool by_name = dict->getKeyType()->kind() == c10::TypeKind::StringType &&
        dict->getValueType()->kind() == c10::TypeKind::TensorType;
    return by_name ? CRESSET_TENSOR_DICT : CRESSET_OTHER;
  }
  if (const auto list = type->cast<c10::ListType>()) {
    return list->getElementType()->kind() == c10::TypeKind::StringType ? CRESSET_STRINGS : CRESSET_OTHER;
  }
  return CRESSET_OTHER;
}

std::vector<Argument> arguments_of(const torch::jit::Method& forward) {
  std::vector<Argument> arguments;
  const auto& all = forward.function().getSchema().arguments();
  for (size_t i = 1; i < all.size(); ++i) {  // the first is self
    const auto& argument = all[i];
    arguments.push_back(
        {argument.name(),
         argument.type()->annotation_str(),
         kind_of(argument.type()),
         argument.default_value().has_value()});
  }
  return arguments;
}

// The first forward makes the executor; this says which.
void choose_executor(const torch::jit::Method& forward, const CressetOptions& options) {
  if (options.simple_executor != 0) {
    torch::jit::toGraphFunction(forward.function())
        ._set_initial_executor_execution_mode(torch::jit::ExecutorExecutionMode::SIMPLE);
  }
}

at::Tensor tensor_of(const CressetInput& input, const CressetModule& module) {
  const at::IntArrayRef sizes(input.sizes, input.rank);
  const auto options = at::TensorOptions().dtype(static_cast<at::ScalarType>(input.scalar_type));
  // A view, where it is only read and only now: a module that may write to
  // its arguments gets copies, and so does one that keeps state, which may
  // keep them. The memory is written again for the next batch.
  auto view = at::from_blob(const_cast<void*>(input.data), sizes, options);
  if (!module.device.is_cpu()) {
    view = view.to(module.device);
  } else if (module.writes_arguments || module.stateful) {
    view = view.clone();
  }
  return cresset::prepared(std::move(view), module.precision);
}

std::vector<c10::IValue> stack_of(const CressetInput* inputs, size_t count, const CressetModule& module) {
  std::vector<c10::IValue> stack;
  if (module.arguments.size() == 1 && module.arguments[0].kind == CRESSET_TENSOR_DICT) {
    c10::Dict<std::string, at::Tensor> dict;
    for (size_t i = 0; i < count; ++i) {
      dict.insert(std::string(inputs[i].name, inputs[i].name_length), tensor_of(inputs[i], module));
    }
    stack.reserve(2);
    stack.emplace_back(std::move(dict));
    return stack;
  }
  stack.reserve(count + 1);  // self goes in front
  for (size_t i = 0; i < count; ++i) {
    stack.emplace_back(tensor_of(inputs[i], module));
  }
  return stack;
}

CressetOutput described(const cresset::Output& output) {
  const auto& tensor = output.tensor;
  return {
      new at::Tensor(tensor),
      output.name ? output.name->c_str() : nullptr,
      static_cast<int32_t>(tensor.scalar_type()),
      tensor.sizes().data(),
      tensor.sizes().size(),
      tensor.const_data_ptr(),
      tensor.nbytes()};
}

}  // namespace

void cresset_text_free(char* text) {
  std::free(text);
}

const char* cresset_torch_version() {
  return TORCH_VERSION;
}

const char* cresset_torch_library() {
  Dl_info info{};
  // Any function that lives in libtorch_cpu.
  const auto known = reinterpret_cast<void*>(&torch::jit::setGraphExecutorOptimize);
  return dladdr(known, &info) != 0 ? info.dli_fname : nullptr;
}

void cresset_set_tensor_fuser(int32_t enabled) {
  torch::jit::setTensorExprFuserEnabled(enabled != 0);
}

CressetStatus cresset_module_load(const char* path, int32_t device_index, const CressetOptions* options,
                                  const CressetPrecision* asked, CressetModule** module, char** error) {
  return guarded(error, [&] {
    const auto device =
        device_index < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<int8_t>(device_index));
    const Setting setting(*options);
    auto loaded = torch::jit::load(path, device);
    loaded.eval();
    auto forward = loaded.find_method("forward");
    if (!forward) {
      throw std::runtime_error("the module has no forward method");
    }
    // Before freezing: frozen attributes can't be told from constants.
    auto arguments = arguments_of(*forward);
    auto writes = cresset::writes(loaded);
    cresset::Precision precision(*asked);
    cresset::convert(loaded, precision);
    std::optional<std::string> not_frozen;
    if (options->freeze != 0) {
      if (writes.own) {
        not_frozen = writes.own;
      } else {
        try {
          loaded = torch::jit::freeze(loaded);
          forward = loaded.get_method("forward");
        } catch (const std::exception& exception) {
          not_frozen = exception.what();
        }
      }
    }
    if (options->for_inference != 0) {
      if (not_frozen) {
        throw std::runtime_error("it can't be frozen: " + *not_frozen);
      }
      loaded = torch::jit::optimize_for_inference(loaded);
      forward = loaded.get_method("forward");
    }
    choose_executor(*forward, *options);
    *module = new CressetModule{
        std::move(loaded),
        std::move(*forward),
        *options,
        std::move(precision),
        device,
        std::move(arguments),
        std::move(writes.own),
        std::move(not_frozen),
        writes.arguments};
  });
}

CressetStatus cresset_module_copy(const CressetModule* module, CressetModule** copy, char** error) {
  return guarded(error, [&] {
    const Setting setting(module->options);
    auto copied = std::make_unique<CressetModule>(*module);
    copied->module = module->module.deepcopy();
    copied->forward = copied->module.get_method("forward");
    choose_executor(copied->forward, copied->options);
    *copy = copied.release();
  });
}

void cresset_module_free(CressetModule* module) {
  delete module;
}

size_t cresset_module_arguments(const CressetModule* module) {
  return module->arguments.size();
}

CressetArgument cresset_module_argument(const CressetModule* module, size_t index) {
  const auto& argument = module->arguments[index];
  return {argument.name.c_str(), argument.type.c_str(), argument.kind, argument.has_default ? 1 : 0};
}

const char* cresset_module_stateful(const CressetModule* module) {
  return module->stateful ? module->stateful->c_str() : nullptr;
}

const char* cresset_module_not_frozen(const CressetModule* module) {
  return module->not_frozen ? module->not_frozen->c_str() : nullptr;
}

CressetStatus cresset_module_forward(const CressetModule* module, const CressetInput* inputs, size_t count,
                                     CressetOutputs** outputs, char** error) {
  return guarded(error, [&] {
    const Setting setting(module->options);
    // Tensors that the module makes "on cuda" go where its weights are.
    const c10::OptionalDeviceGuard device(
        module->device.is_cpu() ? std::nullopt : std::optional<at::Device>(module->device));
    const cresset::Autocast autocast(module->precision, module->device);
    const auto result = module->forward(stack_of(inputs, count, *module));

    std::vector<cresset::Range> taken;
    taken.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      taken.push_back({static_cast<const char*>(inputs[i].data), inputs[i].bytes});
    }
    auto made = std::make_unique<CressetOutputs>();
    made->outputs = cresset::flatten(result);
    made->items.reserve(made->outputs.size());  // so that nothing moves below
    for (auto& output : made->outputs) {
      output.tensor = cresset::restored(output.tensor, output.name, made->items.size(), module->precision);
      output.tensor = cresset::settle(output.tensor, taken, module->stateful.has_value());
      made->items.push_back(described(output));
    }
    *outputs = made.release();
  });
}

CressetOutput* cresset_outputs_items(CressetOutputs* outputs, size_t* count) {
  *count = outputs->items.size();
  return outputs->items.data();
}

void cresset_outputs_free(CressetOutputs* outputs) {
  delete outputs;
}
