// Converts forward's result to contiguous tensors on the host.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

namespace cresset {

struct Output {
  at::Tensor tensor;
  // A dictionary's key or a field's name; `a.0.b` if they are nested.
  std::optional<std::string> name;
  // For strings: their shape. `tensor` then holds their bytes.
  std::optional<std::vector<int64_t>> strings;
};

// Memory that an output must not share.
struct Range {
  const char* start;
  size_t bytes;
};

// Takes tuples, lists and dictionaries apart, in order:
//
// - numbers, booleans and strings become tensors without dimensions
// - a list of strings has one dimension
//
// Throws for values that can't be sent.
std::vector<Output> flatten(const c10::IValue& result);

// The same values, contiguous on the same device. Throws if the tensor has no
// dense memory.
at::Tensor dense(const at::Tensor& tensor);

// The same values, contiguous on the host. A copy if `always_copy` is set or if
// the tensor's memory overlaps a range of `taken`.
at::Tensor settle(const at::Tensor& tensor, const std::vector<Range>& taken, bool always_copy);

}  // namespace cresset
