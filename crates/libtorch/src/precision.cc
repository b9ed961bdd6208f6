#include "precision.h"

#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>

namespace cresset {
namespace {

std::optional<at::ScalarType> type_of(int32_t number) {
  return number < 0 ? std::nullopt : std::optional(static_cast<at::ScalarType>(number));
}

// One pass converts both the type and the memory layout.
at::Tensor converted(at::Tensor tensor, const Precision& precision) {
  const bool cast = precision.weights && tensor.is_floating_point() && tensor.scalar_type() != *precision.weights;
  const bool reorder = precision.channels_last && tensor.dim() == 4;
  if (!cast && !reorder) {
    return tensor;
  }
  const auto format = reorder ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Preserve;
  return tensor.to(cast ? *precision.weights : tensor.scalar_type(), false, false, format);
}

// Walks a module's attributes, its submodules' attributes, and tensors in their
// lists and dictionaries (an LSTM's weights). A tensor with two references
// stays one.
class Conversion {
 public:
  explicit Conversion(const Precision& precision) : precision_(precision) {}

  void object(const c10::intrusive_ptr<c10::ivalue::Object>& object) {
    if (!seen_.insert(object.get()).second) {
      return;
    }
    for (size_t i = 0; i < object->slots().size(); ++i) {
      const auto before = object->getSlot(i);
      auto after = value(before);
      if (!after.is(before)) {
        object->setSlot(i, std::move(after));
      }
    }
  }

 private:
  c10::IValue value(const c10::IValue& held) {
    if (held.isTensor()) {
      return held.toTensor().defined() ? tensor(held.toTensor()) : held;
    }
    if (held.isObject()) {
      object(held.toObject());
    } else if (held.isList()) {
      auto list = held.toList();
      for (size_t i = 0; i < list.size(); ++i) {
        const c10::IValue before = list.get(i);
        if (before.isTensor() || before.isObject()) {
          list.set(i, value(before));
        }
      }
    } else if (held.isGenericDict()) {
      for (const auto& entry : held.toGenericDict()) {
        if (entry.value().isTensor() || entry.value().isObject()) {
          entry.setValue(value(entry.value()));
        }
      }
    }
    return held;
  }

  at::Tensor tensor(const at::Tensor& held) {
    // A sparse or quantised tensor has its own kernels: it stays as it is.
    if (held.layout() != at::kStrided || held.is_quantized()) {
      return held;
    }
    auto& made = tensors_[held.unsafeGetTensorImpl()];
    if (!made.second.defined()) {
      // Keeping the first tensor keeps its address in use.
      made = {held, converted(held, precision_)};
    }
    return made.second;
  }

  const Precision& precision_;
  std::unordered_set<const c10::ivalue::Object*> seen_;
  std::unordered_map<const at::TensorImpl*, std::pair<at::Tensor, at::Tensor>> tensors_;
};

}  // namespace

Precision::Precision(const CressetPrecision& asked)
    : weights(type_of(asked.weights)), autocast(type_of(asked.autocast)), channels_last(asked.channels_last != 0) {
  for (size_t i = 0; i < asked.output_count; ++i) {
    const auto& output = asked.outputs[i];
    outputs.push_back(
        {std::string(output.name, output.name_length), output.index, static_cast<at::ScalarType>(output.scalar_type)});
  }
}

void convert(torch::jit::Module& module, const Precision& precision) {
  if (precision.weights || precision.channels_last) {
    Conversion(precision).object(module._ivalue());
  }
}

at::Tensor prepared(at::Tensor input, const Precision& precision) {
  return converted(std::move(input), precision);
}

at::Tensor restored(at::Tensor output, const std::optional<std::string>& name, size_t index,
                    const Precision& precision) {
  const auto reduced = precision.weights ? precision.weights : precision.autocast;
  if (!reduced || !output.is_floating_point()) {
    return output;
  }
  auto type = output.scalar_type() == *reduced ? at::kFloat : output.scalar_type();
  bool named = false;
  // A name given by the model takes precedence over the position, as in
  // responses.
  for (const auto& configured : precision.outputs) {
    const bool by_name = name && *name == configured.name;
    if (by_name || (configured.index == index && !named)) {
      type = configured.type;
      named = by_name;
    }
  }
  return output.scalar_type() == type ? output : output.to(type);
}

Autocast::Autocast(const Precision& precision, at::Device device)
    : active_(precision.autocast.has_value()), device_(device.type()) {
  if (!active_) {
    return;
  }
  enabled_before_ = at::autocast::is_autocast_enabled(device_);
  cache_before_ = at::autocast::is_autocast_cache_enabled();
  type_before_ = at::autocast::get_autocast_dtype(device_);
  at::autocast::set_autocast_enabled(device_, true);
  at::autocast::set_autocast_dtype(device_, *precision.autocast);
  // Its cache would keep the weights of every model that ever ran.
  at::autocast::set_autocast_cache_enabled(false);
}

Autocast::~Autocast() {
  if (active_) {
    at::autocast::set_autocast_enabled(device_, enabled_before_);
    at::autocast::set_autocast_dtype(device_, type_before_);
    at::autocast::set_autocast_cache_enabled(cache_before_);
  }
}

}  // namespace cresset

void cresset_set_tf32(int32_t allowed) {
  // libtorch's defaults: on for convolutions, off for matrix products. These
  // two setters keep its old and its new switches in step.
  auto& context = at::globalContext();
  context.setAllowTF32CuBLAS(allowed > 0);
  context.setAllowTF32CuDNN(allowed != 0);
}
