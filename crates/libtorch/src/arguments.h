// forward's arguments: what each takes, and how a request's inputs become them.
//
// An input's name is its place: an argument's name, and behind a dot each the
// way to a value within it: an index of a list or tuple, the name of a
// NamedTuple's field, the key of a dictionary.
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
  // What backend/mod.rs reads as an ArgumentKind.
  std::string kind;
  // What stands in where nothing is sent: the file's default, or None.
  std::optional<c10::IValue> otherwise;
};

// Without self.
std::vector<Argument> arguments_of(const c10::FunctionSchema& schema);

// Whether the input goes to its argument as a tensor; numbers and strings are
// read from the host's memory.
bool is_tensor(const std::vector<Argument>& arguments, const CressetInput& input);

// The value of an input that is no tensor.
c10::IValue value_of(const std::vector<Argument>& arguments, const CressetInput& input);

// forward's stack, with room for self in front. `values` are those of `inputs`,
// and in step with them.
std::vector<c10::IValue> stack_of(const std::vector<Argument>& arguments, const CressetInput* inputs,
                                  std::vector<c10::IValue> values);

// The input's memory as a tensor.
at::Tensor view_of(const CressetInput& input);

}  // namespace cresset
