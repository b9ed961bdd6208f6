#include "arguments.h"

#include <charconv>
#include <map>
#include <stdexcept>
#include <string_view>

#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/ops/from_blob.h>

#include "string_lists.h"

namespace cresset {
namespace {

// Containers nested deeper than this can't be sent.
constexpr int kDeepest = 8;

using Kind = c10::TypeKind;

std::string json_text(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      json += '\\';
    }
    json += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return json + '"';
}

std::string under(std::string_view tag, const std::string& json) {
  return "{" + json_text(tag) + ":" + json + "}";
}

// A number's type by its name in the JSON, or null.
const char* scalar_name(const c10::TypePtr& type) {
  switch (type->kind()) {
    case Kind::IntType:
      return "int";
    case Kind::FloatType:
      return "float";
    case Kind::BoolType:
      return "bool";
    case Kind::StringType:
      return "str";
    case Kind::NumberType:
      return "number";
    default:
      return nullptr;
  }
}

bool is_number(const c10::TypePtr& type) {
  return scalar_name(type) != nullptr && type->kind() != Kind::StringType && type->kind() != Kind::NumberType;
}

bool is_list_of_strings(const c10::TypePtr& type) {
  const auto list = type->cast<c10::ListType>();
  return list && list->getElementType()->kind() == Kind::StringType;
}

// The name of a tuple's element: its field's, or its index.
std::string element_name(const c10::TupleType& tuple, size_t index) {
  const auto& schema = tuple.schema();
  return schema ? schema->arguments()[index].name() : std::to_string(index);
}

std::string kind_of(const c10::TypePtr& type, int depth);

std::string kind_of_tuple(const c10::TupleType& tuple, int depth) {
  std::string json = "[";
  for (size_t i = 0; i < tuple.elements().size(); ++i) {
    const auto element = kind_of(tuple.elements()[i], depth + 1);
    json += (i > 0 ? "," : "") +
        (tuple.schema() ? "[" + json_text(element_name(tuple, i)) + "," + element + "]" : element);
  }
  return under(tuple.schema() ? "named" : "tuple", json + "]");
}

std::string kind_of(const c10::TypePtr& type, int depth) {
  if (depth < kDeepest) {
    if (type->kind() == Kind::TensorType) {
      return json_text("tensor");
    }
    if (const char* scalar = scalar_name(type)) {
      return under("scalar", json_text(scalar));
    }
    if (const auto optional = type->cast<c10::OptionalType>()) {
      return under("optional", kind_of(optional->getElementType(), depth + 1));
    }
    if (const auto list = type->cast<c10::ListType>()) {
      const auto& element = list->getElementType();
      if (is_list_of_strings(type)) {
        return json_text("strings");
      }
      return is_number(element) ? under("numbers", json_text(scalar_name(element)))
                                : under("list", kind_of(element, depth + 1));
    }
    if (const auto tuple = type->cast<c10::TupleType>()) {
      return kind_of_tuple(*tuple, depth);
    }
    const auto dict = type->cast<c10::DictType>();
    if (dict && dict->getKeyType()->kind() == Kind::StringType) {
      return under("dict", kind_of(dict->getValueType(), depth + 1));
    }
  }
  return under("other", json_text(type->annotation_str()));
}

// libtorch's own text.
std::runtime_error missing(const std::string& place) {
  return std::runtime_error("forward() is missing value for argument '" + place + "'");
}

c10::TypePtr without_optional(const c10::TypePtr& type) {
  const auto optional = type->cast<c10::OptionalType>();
  return optional ? optional->getElementType() : type;
}

std::string_view name_of(const CressetInput& input) {
  return {input.name, input.name_length};
}

// The text up to the first dot, which is removed from `rest`.
std::string_view step(std::string_view& rest) {
  const auto dot = rest.find('.');
  const auto taken = rest.substr(0, dot);
  rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return taken;
}

// The type at `rest` within a value of this type, or null.
c10::TypePtr type_at(c10::TypePtr type, std::string_view rest) {
  type = without_optional(type);
  if (rest.empty()) {
    return type;
  }
  if (const auto dict = type->cast<c10::DictType>()) {
    const auto value = without_optional(dict->getValueType());
    // A tensor's key may contain dots.
    if (value->kind() == Kind::TensorType) {
      return value;
    }
    step(rest);
    return type_at(value, rest);
  }
  const auto taken = step(rest);
  if (const auto list = type->cast<c10::ListType>()) {
    return type_at(list->getElementType(), rest);
  }
  if (const auto tuple = type->cast<c10::TupleType>()) {
    for (size_t i = 0; i < tuple->elements().size(); ++i) {
      if (element_name(*tuple, i) == taken) {
        return type_at(tuple->elements()[i], rest);
      }
    }
  }
  return nullptr;
}

c10::TypePtr type_of(const std::vector<Argument>& arguments, const CressetInput& input) {
  auto rest = name_of(input);
  const auto name = step(rest);
  for (const auto& argument : arguments) {
    if (argument.name == name) {
      if (auto type = type_at(argument.type, rest)) {
        return type;
      }
    }
  }
  throw std::runtime_error("forward takes no '" + std::string(name_of(input)) + "'");
}

c10::IValue scalar_of(const at::Tensor& element, const c10::TypePtr& type) {
  const auto value = element.item();
  switch (type->kind()) {
    case Kind::IntType:
      return value.toLong();
    case Kind::FloatType:
      return value.toDouble();
    case Kind::BoolType:
      return value.toBool();
    default:
      return value;
  }
}

// The numbers of the first row.
c10::IValue numbers_of(const at::Tensor& tensor, const c10::TypePtr& list) {
  const auto& type = list->expectRef<c10::ListType>().getElementType();
  const auto row = tensor.dim() > 1 ? tensor.flatten(0, -2).select(0, 0) : tensor.flatten();
  c10::impl::GenericList numbers(type);
  for (int64_t i = 0; i < row.numel(); ++i) {
    numbers.push_back(scalar_of(row.select(0, i), type));
  }
  return numbers;
}

// The default for a list or dictionary if nothing is sent for it.
std::optional<c10::IValue> empty_of(const c10::TypePtr& type) {
  if (const auto list = type->cast<c10::ListType>()) {
    return c10::impl::GenericList(list->getElementType());
  }
  if (const auto dict = type->cast<c10::DictType>()) {
    return c10::impl::GenericDict(dict->getKeyType(), dict->getValueType());
  }
  if (type->kind() == Kind::OptionalType) {
    return c10::IValue();
  }
  return std::nullopt;
}

// The values sent, by place.
using Sent = std::map<std::string_view, const c10::IValue*>;

class Builder {
 public:
  explicit Builder(const Sent& sent) : sent_(sent) {}

  // The value at `place`, or nothing if nothing is sent for it.
  std::optional<c10::IValue> build(const c10::TypePtr& maybe, const std::string& place) const {
    const auto type = without_optional(maybe);
    if (const auto found = sent_.find(place); found != sent_.end()) {
      return *found->second;
    }
    const auto within = place + ".";
    if (!has_within(within)) {
      return std::nullopt;
    }
    if (const auto tuple = type->cast<c10::TupleType>()) {
      return build_tuple(tuple, within);
    }
    if (const auto list = type->cast<c10::ListType>()) {
      return build_list(*list, within);
    }
    if (const auto dict = type->cast<c10::DictType>()) {
      return build_dict(*dict, within);
    }
    throw std::runtime_error("'" + place + "' of forward is of type " + type->annotation_str());
  }

 private:
  bool has_within(std::string_view within) const {
    const auto next = sent_.lower_bound(within);
    return next != sent_.end() && next->first.substr(0, within.size()) == within;
  }

  c10::IValue build_tuple(const c10::TupleTypePtr& tuple, const std::string& within) const {
    std::vector<c10::IValue> elements;
    for (size_t i = 0; i < tuple->elements().size(); ++i) {
      const auto& type = tuple->elements()[i];
      const auto place = within + element_name(*tuple, i);
      auto element = build(type, place);
      if (!element) {
        element = empty_of(type);
      }
      if (!element) {
        throw missing(place);
      }
      elements.push_back(std::move(*element));
    }
    return tuple->schema() ? c10::ivalue::Tuple::createNamed(std::move(elements), tuple)
                           : c10::ivalue::Tuple::create(std::move(elements));
  }

  c10::IValue build_list(const c10::ListType& list, const std::string& within) const {
    c10::impl::GenericList elements(list.getElementType());
    for (size_t i = 0;; ++i) {
      auto element = build(list.getElementType(), within + std::to_string(i));
      if (!element) {
        return elements;
      }
      elements.push_back(std::move(*element));
    }
  }

  c10::IValue build_dict(const c10::DictType& dict, const std::string& within) const {
    const auto& type = dict.getValueType();
    const bool of_tensors = without_optional(type)->kind() == Kind::TensorType;
    c10::impl::GenericDict values(c10::StringType::get(), type);
    for (auto next = sent_.lower_bound(within);
         next != sent_.end() && next->first.substr(0, within.size()) == within; ++next) {
      auto rest = next->first.substr(within.size());
      const std::string key(of_tensors ? rest : step(rest));
      if (!values.contains(key)) {
        if (auto value = build(type, within + key)) {
          values.insert(key, std::move(*value));
        }
      }
    }
    return values;
  }

  const Sent& sent_;
};

// The value of an argument if nothing is sent for it. forward may write to it,
// so each call gets its own.
c10::IValue otherwise(const Argument& argument) {
  if (argument.otherwise) {
    const auto& value = *argument.otherwise;
    const bool own = value.isInt() || value.isDouble() || value.isBool() || value.isString() || value.isNone();
    return own ? value : value.deepcopy();
  }
  if (auto empty = empty_of(argument.type)) {
    return std::move(*empty);
  }
  throw missing(argument.name);
}

}  // namespace

std::vector<Argument> arguments_of(const c10::FunctionSchema& schema) {
  std::vector<Argument> arguments;
  const auto& all = schema.arguments();
  for (size_t i = 1; i < all.size(); ++i) {  // the first is self
    const auto& argument = all[i];
    auto stands_in = argument.default_value();
    if (!stands_in && argument.type()->kind() == Kind::OptionalType) {
      stands_in = c10::IValue();
    }
    arguments.push_back(
        {argument.name(), argument.type(), kind_of(argument.type(), 0), std::move(stands_in)});
  }
  return arguments;
}

at::Tensor view_of(const CressetInput& input) {
  const at::IntArrayRef sizes(input.sizes, input.rank);
  const auto options = at::TensorOptions().dtype(static_cast<at::ScalarType>(input.scalar_type));
  return at::from_blob(const_cast<void*>(input.data), sizes, options);
}

bool is_tensor(const std::vector<Argument>& arguments, const CressetInput& input) {
  return type_of(arguments, input)->kind() == Kind::TensorType;
}

c10::IValue value_of(const std::vector<Argument>& arguments, const CressetInput& input) {
  const auto type = type_of(arguments, input);
  const bool strings = input.scalar_type == CRESSET_STRINGS_TYPE;
  if (strings != (is_list_of_strings(type) || type->kind() == Kind::StringType)) {
    throw std::runtime_error("'" + std::string(name_of(input)) + "' of forward is of type " + type->annotation_str());
  }
  if (strings) {
    auto list = strings_of(static_cast<const char*>(input.data), input.bytes);
    return type->kind() == Kind::StringType ? list.toListRef().at(0) : list;
  }
  const auto view = view_of(input);
  if (type->kind() == Kind::ListType) {
    return numbers_of(view, type);
  }
  if (view.numel() == 0) {
    throw std::runtime_error("'" + std::string(name_of(input)) + "' of forward is empty");
  }
  return scalar_of(view.flatten().select(0, 0), type);
}

std::vector<c10::IValue> stack_of(const std::vector<Argument>& arguments, const CressetInput* inputs,
                                  std::vector<c10::IValue> values) {
  std::vector<c10::IValue> stack;
  stack.reserve(arguments.size() + 1);  // self goes in front
  Sent sent;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto& argument = arguments[i];
    // Usually inputs and arguments match one to one.
    if (i < values.size() && sent.empty() && name_of(inputs[i]) == argument.name) {
      stack.push_back(values[i]);
      continue;
    }
    if (sent.empty()) {
      for (size_t j = 0; j < values.size(); ++j) {
        sent.emplace(name_of(inputs[j]), &values[j]);
      }
    }
    auto built = Builder(sent).build(argument.type, argument.name);
    stack.push_back(built ? std::move(*built) : otherwise(argument));
  }
  return stack;
}

}  // namespace cresset
