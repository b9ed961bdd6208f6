#include "operators.h"

#include <ATen/core/dispatch/Dispatcher.h>

int32_t cresset_has_operator(const char* name) {
  try {
    return c10::Dispatcher::singleton().findSchema({name, ""}).has_value() ? 1 : 0;
  } catch (...) {
    return 0;
  }
}
