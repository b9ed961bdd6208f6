// The operators that libtorch knows.
#pragma once

#include <stdint.h>

#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

// 1 if some library has registered an operator of this name
// (`torchvision::nms`), else 0.
int32_t cresset_has_operator(const char* name);

// Opens a library, with flags of dlopen, for as long as the process lives. On
// failure `error` is the loader's message, or the exception of an initialiser;
// after an exception the loader can't be used any more. Freed by
// cresset_text_free.
CressetStatus cresset_open_library(const char* path, int32_t flags, char** error);

#ifdef __cplusplus
}
#endif
