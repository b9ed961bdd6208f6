#include "operators.h"

#include <cstring>
#include <exception>
#include <string>

#include <dlfcn.h>

#include <ATen/core/dispatch/Dispatcher.h>

int32_t cresset_has_operator(const char* name) {
  try {
    return c10::Dispatcher::singleton().findSchema({name, ""}).has_value() ? 1 : 0;
  } catch (...) {
    return 0;
  }
}

CressetStatus cresset_open_library(const char* path, int32_t flags, char** error) {
  *error = nullptr;
  // The C library declares that it never throws, and the compiler relies on it.
  void* (*volatile open)(const char*, int) = &dlopen;
  try {
    if (open(path, flags) != nullptr) {
      return CRESSET_OK;
    }
    const char* why = dlerror();
    *error = strdup(why != nullptr ? why : "no reason given");
  } catch (const std::exception& exception) {
    *error = strdup((std::string("an initialiser threw: ") + exception.what()).c_str());
  } catch (...) {
    *error = strdup("an initialiser threw an exception of unknown type");
  }
  return CRESSET_FAILED;
}
