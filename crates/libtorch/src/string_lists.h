// Lists of strings as bytes: each string behind its length, 4 bytes,
// little-endian, one behind the other.
#pragma once

#include <cstddef>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

namespace cresset {

// The strings in `data`, whatever bytes they hold. Throws where the last one
// isn't whole.
c10::IValue strings_of(const char* data, size_t bytes);

// A tensor of the bytes of a list of strings. Throws for one of 4 GiB or more.
at::Tensor bytes_of(const c10::List<c10::IValue>& strings);

}  // namespace cresset
