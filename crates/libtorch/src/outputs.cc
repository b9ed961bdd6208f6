#include "outputs.h"

#include <functional>
#include <sstream>
#include <stdexcept>

#include <ATen/ATen.h>
#include <ATen/core/function_schema.h>

#include "string_lists.h"

namespace cresset {
namespace {

// The position within the result: `a.0.b`. A plain element of the outermost
// tuple or list has a position but no name.
struct Place {
  std::string path;
  bool named = false;

  Place child(const std::string& step, bool is_name) const {
    return {path.empty() ? step : path + "." + step, is_name || !path.empty()};
  }

  std::string described() const { return path.empty() ? "forward's output" : "output '" + path + "'"; }
};

[[noreturn]] void refuse(const Place& place, const std::string& why) {
  throw std::runtime_error(place.described() + " " + why);
}

std::string key_text(const c10::IValue& key) {
  if (key.isString()) {
    return key.toStringRef();
  }
  std::ostringstream text;
  text << key;
  return text.str();
}

void walk(const c10::IValue& value, const Place& place, std::vector<Output>& into) {
  const auto add = [&](at::Tensor tensor) {
    into.push_back({std::move(tensor), place.named ? std::optional(place.path) : std::nullopt, std::nullopt});
  };
  if (value.isTensor()) {
    if (!value.toTensor().defined()) {
      refuse(place, "is an undefined tensor");
    }
    add(value.toTensor());
  } else if (value.isTuple()) {
    const auto tuple = value.toTuple();
    const auto& elements = tuple->elements();
    const auto& schema = tuple->type()->schema();
    for (size_t i = 0; i < elements.size(); ++i) {
      const bool has_name = schema && i < schema->arguments().size();
      const auto step = has_name ? schema->arguments()[i].name() : std::to_string(i);
      walk(elements[i], place.child(step, has_name), into);
    }
  } else if (value.isList() && value.toList().elementType()->kind() == c10::TypeKind::StringType) {
    const auto list = value.toList();
    add(bytes_of(list));
    into.back().strings = {static_cast<int64_t>(list.size())};
  } else if (value.isList()) {
    const auto list = value.toList();
    for (size_t i = 0; i < list.size(); ++i) {
      walk(list.get(i), place.child(std::to_string(i), false), into);
    }
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      walk(entry.value(), place.child(key_text(entry.key()), true), into);
    }
  } else if (value.isBool()) {
    add(at::scalar_tensor(value.toBool(), at::kBool));
  } else if (value.isInt()) {
    add(at::scalar_tensor(value.toInt(), at::kLong));
  } else if (value.isDouble()) {
    add(at::scalar_tensor(value.toDouble(), at::kDouble));
  } else if (value.isNone()) {
    refuse(place, "is None, which can't be sent");
  } else if (value.isString()) {
    c10::List<std::string> one;
    one.push_back(value.toStringRef());
    add(bytes_of(c10::IValue(one).toList()));
    into.back().strings.emplace();
  } else {
    refuse(place, "is a " + value.tagKind() + ", which can't be sent");
  }
}

bool overlaps(const at::Tensor& tensor, const std::vector<Range>& taken) {
  const auto& storage = tensor.storage();
  const auto* start = static_cast<const char*>(storage.data());
  const std::less<const char*> before;
  for (const auto& range : taken) {
    if (range.bytes > 0 && before(start, range.start + range.bytes) &&
        before(range.start, start + storage.nbytes())) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::vector<Output> flatten(const c10::IValue& result) {
  std::vector<Output> outputs;
  walk(result, Place{}, outputs);
  return outputs;
}

at::Tensor dense(const at::Tensor& tensor) {
  TORCH_CHECK(
      tensor.layout() == at::kStrided && !tensor.is_quantized(),
      "an output that is ", tensor.is_quantized() ? "quantised" : "sparse", " is not supported");
  // Each step only if it has an effect: small models are slowed by every call.
  at::Tensor result = tensor;
  if (result.is_conj() || result.is_neg()) {
    result = result.resolve_conj().resolve_neg();
  }
  return result.is_contiguous() ? result : result.contiguous();
}

at::Tensor settle(const at::Tensor& tensor, const std::vector<Range>& taken, bool always_copy) {
  at::Tensor settled = dense(tensor);
  if (!settled.device().is_cpu()) {
    settled = settled.to(at::kCPU);
  }
  if (settled.numel() > 0 && (always_copy || overlaps(settled, taken))) {
    settled = settled.clone(at::MemoryFormat::Contiguous);
  }
  return settled;
}

}  // namespace cresset
