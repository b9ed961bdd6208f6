// Which operators libtorch knows.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// 1 if some library has registered an operator of this name
// (`torchvision::nms`), else 0.
int32_t cresset_has_operator(const char* name);

#ifdef __cplusplus
}
#endif
