#include "shim.h"

#include <algorithm>
#include <atomic>
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

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/tensorexpr_fuser.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/version.h>

#include "arguments.h"
#include "devices.h"
#include "lane.h"
#include "memory.h"
#include "outputs.h"
#include "precision.h"
#include "writes.h"

// The numbers in scalar_type.rs.
static_assert(static_cast<int>(at::kByte) == 0 && static_cast<int>(at::kChar) == 1);
static_assert(static_cast<int>(at::kShort) == 2 && static_cast<int>(at::kInt) == 3);
static_assert(static_cast<int>(at::kLong) == 4 && static_cast<int>(at::kHalf) == 5);
static_assert(static_cast<int>(at::kFloat) == 6 && static_cast<int>(at::kDouble) == 7);
static_assert(static_cast<int>(at::kBool) == 11 && static_cast<int>(at::kBFloat16) == 15);
static_assert(static_cast<int>(at::kUInt16) == 27 && static_cast<int>(at::kUInt32) == 28);
static_assert(static_cast<int>(at::kUInt64) == 29);
// Strings have the same layout on the wire and here.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

struct CressetModule {
  torch::jit::Module module;
  torch::jit::Method forward;
  CressetOptions options;
  cresset::Precision precision;
  at::Device device;
  std::vector<cresset::Argument> arguments;
  std::optional<std::string> stateful;
  std::optional<std::string> not_frozen;
  // forward may write to its arguments, so it gets copies.
  bool writes_arguments;
  std::vector<std::string> notes;
  // forward forks tasks.
  bool forks;
  // One of its runs has failed, or a run of a copy that shares its code.
  std::shared_ptr<std::atomic<bool>> failed = std::make_shared<std::atomic<bool>>(false);

  c10::IValue run(std::vector<c10::IValue> stack) const {
    try {
      return forward(std::move(stack));
    } catch (...) {
      failed->store(true);
      throw;
    }
  }
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

// Runs `work`, and converts any exception to a status and a text.
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

// The settings of this thread while a module is loaded or runs.
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

// The first forward makes the executor; this chooses which.
void choose_executor(const torch::jit::Method& forward, const CressetOptions& options) {
  if (options.simple_executor != 0) {
    torch::jit::toGraphFunction(forward.function())
        ._set_initial_executor_execution_mode(torch::jit::ExecutorExecutionMode::SIMPLE);
  }
}

// For a forward that ends before the input's memory changes.
at::Tensor tensor_of(const CressetInput& input, const CressetModule& module) {
  auto view = cresset::view_of(input);
  // A view, if it is only read and only during this call. A module that may
  // write to its arguments gets copies. So does a module that keeps state,
  // because it may keep them: the memory is written again for the next batch.
  if (!module.device.is_cpu()) {
    view = view.to(module.device);
  } else if (module.writes_arguments || module.stateful) {
    view = view.clone();
  }
  return cresset::prepared(std::move(view), module.precision);
}

bool is_tensor(const CressetModule& module, const CressetInput& input) {
  const bool tensor = cresset::is_tensor(module.arguments, input);
  if (tensor && input.scalar_type == CRESSET_STRINGS_TYPE) {
    throw std::runtime_error("'" + std::string(input.name, input.name_length) + "' of forward takes no strings");
  }
  return tensor;
}

// forward's stack; `tensor` converts inputs that are passed as tensors.
template <typename MakeTensor>
std::vector<c10::IValue> stack_of(const CressetModule& module, const CressetInput* inputs, size_t count,
                                  const MakeTensor& tensor) {
  std::vector<c10::IValue> values;
  values.reserve(std::max(count, module.arguments.size()) + 1);  // self goes in front
  for (size_t i = 0; i < count; ++i) {
    values.push_back(is_tensor(module, inputs[i]) ? c10::IValue(tensor(inputs[i]))
                                                  : cresset::value_of(module.arguments, inputs[i]));
  }
  return cresset::stack_of(module.arguments, inputs, std::move(values));
}

CressetOutput described(const cresset::Output& output) {
  const auto& tensor = output.tensor;
  const auto sizes = output.strings ? at::IntArrayRef(*output.strings) : tensor.sizes();
  return {
      new at::Tensor(tensor),
      output.name ? output.name->c_str() : nullptr,
      output.strings ? CRESSET_STRINGS_TYPE : static_cast<int32_t>(tensor.scalar_type()),
      sizes.data(),
      sizes.size(),
      tensor.const_data_ptr(),
      tensor.nbytes()};
}

// Outputs in the datatypes that the configuration declares.
void restore(std::vector<cresset::Output>& outputs, const CressetModule& module) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    outputs[i].tensor = cresset::restored(outputs[i].tensor, outputs[i].name, i, module.precision);
  }
}

void describe(CressetOutputs& made) {
  made.items.reserve(made.outputs.size());  // so that no pointer moves
  for (const auto& output : made.outputs) {
    made.items.push_back(described(output));
  }
}

// Waits for all streams of a device. Loading wrote on a stream that no lane
// waits for.
void synchronize(at::Device device) {
  if (!device.is_cpu()) {
    c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
  }
}

// Waits for all streams of every device of every kind that is open.
void synchronize_all() {
  for (size_t number = 0; number < at::COMPILE_TIME_MAX_DEVICE_TYPES; ++number) {
    const auto type = static_cast<at::DeviceType>(number);
    if (at::accelerator::isAccelerator(type) && c10::impl::hasDeviceGuardImpl(type)) {
      const c10::impl::VirtualGuardImpl guard(type);
      for (c10::DeviceIndex index = 0; index < guard.deviceCount(); ++index) {
        guard.synchronizeDevice(index);
      }
    }
  }
}

// The device of a module's inputs; a module that places itself, whose device has
// no name, takes them on the host.
at::Device device_of(const char* name) {
  return name == nullptr ? at::Device(at::kCPU) : at::Device(name);
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
  // Any function in libtorch_cpu.
  const auto known = reinterpret_cast<void*>(&torch::jit::setGraphExecutorOptimize);
  return dladdr(known, &info) != 0 ? info.dli_fname : nullptr;
}

void cresset_set_tensor_fuser(int32_t enabled) {
  torch::jit::setTensorExprFuserEnabled(enabled != 0);
}

void cresset_set_cudnn(int32_t enabled) {
  at::globalContext().setUserEnabledCuDNN(enabled != 0);
}

int32_t cresset_set_inter_op_threads(int32_t count) {
  const auto in_effect = [] { return static_cast<int32_t>(at::get_num_interop_threads()); };
  try {
    if (in_effect() != count) at::set_num_interop_threads(count);
  } catch (...) {
    // It was set or used before: that number stays.
  }
  return in_effect();
}

CressetStatus cresset_module_load(const char* path, const char* device_name, const CressetOptions* options,
                                  const CressetPrecision* asked, CressetModule** module, char** error) {
  return guarded(error, [&] {
    const auto device = device_of(device_name);
    const bool as_saved = device_name == nullptr;
    const Setting setting(*options);
    auto loaded = torch::jit::load(path, as_saved ? std::nullopt : std::optional<at::Device>(device));
    loaded.eval();
    std::vector<std::string> notes;
    if (!as_saved) {
      notes = cresset::settle_devices(loaded, device);
    }
    auto forward = loaded.find_method("forward");
    if (!forward) {
      throw std::runtime_error("the module has no forward method");
    }
    // Before freezing: frozen attributes can't be distinguished from constants.
    auto arguments = cresset::arguments_of(forward->function().getSchema());
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
    auto made = std::unique_ptr<CressetModule>(new CressetModule{
        std::move(loaded),
        std::move(*forward),
        *options,
        std::move(precision),
        device,
        std::move(arguments),
        std::move(writes.own),
        std::move(not_frozen),
        writes.arguments,
        std::move(notes),
        writes.forks});
    as_saved ? synchronize_all() : synchronize(device);
    *module = made.release();
  });
}

CressetStatus cresset_module_copy(const CressetModule* module, CressetModule** copy, char** error) {
  return guarded(error, [&] {
    const Setting setting(module->options);
    auto copied = std::make_unique<CressetModule>(*module);
    copied->module = module->module.deepcopy();
    copied->forward = copied->module.get_method("forward");
    choose_executor(copied->forward, copied->options);
    synchronize(copied->device);
    *copy = copied.release();
  });
}

CressetStatus cresset_module_for_inference(const CressetModule* module, CressetModule** made, char** error) {
  return guarded(error, [&] {
    if (module->options.freeze == 0 || module->not_frozen) {
      throw std::runtime_error("it isn't frozen" + (module->not_frozen ? ": " + *module->not_frozen : ""));
    }
    const Setting setting(module->options);
    auto other = std::make_unique<CressetModule>(*module);
    // Methods belong to the type, which a plain copy would share.
    auto cloned = module->module.clone();
    other->module = torch::jit::optimize_for_inference(cloned);
    other->forward = other->module.get_method("forward");
    other->options.for_inference = 1;
    choose_executor(other->forward, other->options);
    *made = other.release();
  });
}

void cresset_module_free(CressetModule* module) {
  // A forked task may still run after the forward that forked it has failed. It
  // reads the module's code without holding a reference: libtorch would end the
  // process. Leaking the memory is better.
  if (module->forks && module->failed->load()) {
    return;
  }
  delete module;
}

size_t cresset_module_arguments(const CressetModule* module) {
  return module->arguments.size();
}

CressetArgument cresset_module_argument(const CressetModule* module, size_t index) {
  const auto& argument = module->arguments[index];
  return {argument.name.c_str(), argument.kind.c_str(), argument.otherwise ? 1 : 0};
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
    // Tensors that the module makes "on cuda" go to the device of its weights.
    const c10::OptionalDeviceGuard device(
        module->device.is_cpu() ? std::nullopt : std::optional<at::Device>(module->device));
    const cresset::Autocast autocast(module->precision, module->device);
    const auto result =
        module->run(stack_of(*module, inputs, count, [&](const auto& input) { return tensor_of(input, *module); }));

    std::vector<cresset::Range> taken;
    taken.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      taken.push_back({static_cast<const char*>(inputs[i].data), inputs[i].bytes});
    }
    auto made = std::make_unique<CressetOutputs>();
    made->outputs = cresset::flatten(result);
    restore(made->outputs, *module);
    for (auto& output : made->outputs) {
      output.tensor = cresset::settle(output.tensor, taken, module->stateful.has_value());
    }
    describe(*made);
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

struct CressetLane {
  cresset::Lane lane;
};

struct CressetFlight {
  at::Device device;
  std::unique_ptr<CressetOutputs> outputs;
  // The memory that the streams read until it has landed.
  std::vector<at::Tensor> kept;
  std::optional<c10::Event> landed;

  ~CressetFlight() {
    try {
      if (landed) {
        // Freeing an event goes back to the device that is current.
        const c10::DeviceGuard on(device);
        cresset::wait_for(*landed);
        landed.reset();
      }
    } catch (...) {
      // The device has failed: it reads and writes no more.
    }
  }
};

struct CressetPinned {
  cresset::Pinned memory;
};

CressetStatus cresset_lane_new(const char* device, CressetLane** lane, char** error) {
  return guarded(error, [&] { *lane = new CressetLane{cresset::Lane(device_of(device))}; });
}

void cresset_lane_free(CressetLane* lane) {
  delete lane;
}

CressetStatus cresset_module_launch(const CressetModule* module, CressetLane* lane, const CressetInput* inputs,
                                    size_t count, CressetFlight** flight, char** error) {
  return guarded(error, [&] {
    const Setting setting(module->options);
    const c10::OptionalDeviceGuard device(
        module->device.is_cpu() ? std::nullopt : std::optional<at::Device>(module->device));
    std::vector<at::Tensor> host;
    host.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      if (is_tensor(*module, inputs[i])) {
        host.push_back(cresset::view_of(inputs[i]));
      }
    }
    // Alive until the streams are settled, even on failure.
    auto launched = std::unique_ptr<CressetFlight>(new CressetFlight{module->device, {}, {}, std::nullopt});
    try {
      launched->kept = lane->lane.copy_in(host);
      auto made = std::make_unique<CressetOutputs>();
      {
        const auto on = lane->lane.computing();
        auto next = launched->kept.begin();
        auto stack = stack_of(*module, inputs, count, [&](const CressetInput&) {
          const auto& copied = *next++;
          auto given = cresset::prepared(copied, module->precision);
          // A module that keeps state may read a tensor on this stream after
          // the copies in have given its memory to the next batch, so it gets
          // its own copy.
          return module->stateful && given.is_same(copied) ? given.clone() : given;
        });
        const cresset::Autocast autocast(module->precision, module->device);
        made->outputs = cresset::flatten(module->run(std::move(stack)));
        restore(made->outputs, *module);
      }
      launched->outputs = std::move(made);
      auto& outputs = launched->outputs->outputs;
      launched->landed = lane->lane.copy_out(outputs, module->stateful.has_value(), launched->kept);
      describe(*launched->outputs);
      *flight = launched.release();
    } catch (...) {
      // From here on the caller may write to the inputs' memory.
      lane->lane.settle();
      throw;
    }
  });
}

CressetStatus cresset_flight_land(CressetFlight* flight, CressetOutputs** outputs, char** error) {
  return guarded(error, [&] {
    if (flight->landed) {
      cresset::wait_for(*flight->landed);
    }
    *outputs = flight->outputs.release();
  });
}

void cresset_flight_free(CressetFlight* flight) {
  delete flight;
}

CressetStatus cresset_pinned_new(const char* device, size_t bytes, CressetPinned** pinned, char** error) {
  return guarded(error, [&] {
    *pinned = new CressetPinned{cresset::Pinned::allocate(device_of(device).type(), bytes)};
  });
}

void* cresset_pinned_start(CressetPinned* pinned) {
  return pinned->memory.start;
}

void cresset_pinned_free(CressetPinned* pinned) {
  pinned->memory.release();
  delete pinned;
}

int32_t cresset_device_count(const char* kind) {
  try {
    return at::globalContext().getAcceleratorHooksInterface(device_of(kind).type()).deviceCount();
  } catch (...) {
    return 0;
  }
}

CressetStatus cresset_device_synchronize(const char* device, char** error) {
  return guarded(error, [&] { device == nullptr ? synchronize_all() : synchronize(device_of(device)); });
}

const char* cresset_module_note(const CressetModule* module, size_t index) {
  return index < module->notes.size() ? module->notes[index].c_str() : nullptr;
}

const char* cresset_cpu_capability() {
  try {
    static const std::string level = at::get_cpu_capability();
    return level.c_str();
  } catch (...) {
    return nullptr;
  }
}

CressetStatus cresset_device_memory(const char* device, uint64_t* allocated, uint64_t* reserved, char** error) {
  return guarded(error, [&] {
    const auto memory = cresset::device_memory(device_of(device));
    *allocated = memory.allocated;
    *reserved = memory.reserved;
  });
}

CressetStatus cresset_empty_caches(const char* kind, char** error) {
  return guarded(error, [&] { cresset::empty_caches(device_of(kind).type()); });
}

CressetStatus cresset_use_allocator_settings(const char* settings, char** error) {
  return guarded(error, [&] { cresset::use_allocator_settings(settings); });
}
