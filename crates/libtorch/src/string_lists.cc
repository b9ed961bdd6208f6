#include "string_lists.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include <ATen/ATen.h>
#include <ATen/core/List.h>

namespace cresset {
namespace {

using Length = uint32_t;

}  // namespace

c10::IValue strings_of(const char* data, size_t bytes) {
  c10::List<std::string> strings;
  while (bytes > 0) {
    Length length = 0;
    if (bytes < sizeof length) {
      throw std::runtime_error("a string lacks its length");
    }
    std::memcpy(&length, data, sizeof length);
    data += sizeof length;
    bytes -= sizeof length;
    if (bytes < length) {
      throw std::runtime_error("a string is longer than its data");
    }
    strings.push_back(std::string(data, length));
    data += length;
    bytes -= length;
  }
  return strings;
}

at::Tensor bytes_of(const c10::List<c10::IValue>& strings) {
  size_t bytes = 0;
  for (size_t i = 0; i < strings.size(); ++i) {
    const auto length = strings.get(i).toStringRef().size();
    if (length > std::numeric_limits<Length>::max()) {
      throw std::runtime_error("a string of 4 GiB or more can't be sent");
    }
    bytes += sizeof(Length) + length;
  }
  auto tensor = at::empty({static_cast<int64_t>(bytes)}, at::kByte);
  auto* to = static_cast<char*>(tensor.mutable_data_ptr());
  for (size_t i = 0; i < strings.size(); ++i) {
    const auto value = strings.get(i);
    const auto& string = value.toStringRef();
    const auto length = static_cast<Length>(string.size());
    std::memcpy(to, &length, sizeof length);
    std::memcpy(to + sizeof length, string.data(), string.size());
    to += sizeof length + string.size();
  }
  return tensor;
}

}  // namespace cresset
