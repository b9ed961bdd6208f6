// Lists of strings as bytes: strings in sequence, each preceded by its length
// (4 bytes, little-endian).
#pragma once

#include <cstddef>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

namespace cresset {

// The strings in `data`, of any bytes. Throws if the last one is incomplete.
c10::IValue strings_of(const char* data, size_t bytes);

// A tensor of the bytes of a list of strings. Throws if one has 4 GiB or more.
at::Tensor bytes_of(const c10::List<c10::IValue>& strings);

}  // namespace cresset
