// forward's arguments: their types, and how a request's inputs become them.
//
// An input's name is its place. It is an argument's name, followed by the path
// to a value within it, each step after a dot:
//
// - an index of a list or tuple
// - a field's name of a NamedTuple
// - a key of a dictionary
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include "shim.h"

namespace cresset {

struct Argument {
  std::string name;
  c10::TypePtr type;
  // Read as an ArgumentKind by the Rust side.
  std::string kind;
  // The value if nothing is sent: the file's default, or None.
  std::optional<c10::IValue> otherwise;
};

// Without self.
std::vector<Argument> arguments_of(const c10::FunctionSchema& schema);

// Whether the input goes to its argument as a tensor; numbers and strings are
// read from the host's memory.
bool is_tensor(const std::vector<Argument>& arguments, const CressetInput& input);

// The value of an input that is not a tensor.
c10::IValue value_of(const std::vector<Argument>& arguments, const CressetInput& input);

// forward's stack, with room for self at the front. `values` are the values of
// `inputs`, in the same order.
std::vector<c10::IValue> stack_of(const std::vector<Argument>& arguments, const CressetInput* inputs,
                                  std::vector<c10::IValue> values);

// The input's memory as a tensor.
at::Tensor view_of(const CressetInput& input);

}  // namespace cresset
