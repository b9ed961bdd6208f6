// What `tch` lacks of libtorch, behind a C interface.
//
// Every function that can fail returns null on success, else a message that
// the caller frees with cresset_text_free. No C++ exception leaves this file,
// and nothing leaks when one is caught.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A loaded module. Shared by threads: forward doesn't change it, unless the
// model itself does (see cresset_module_stateful).
typedef struct cresset_module cresset_module;

// The outputs of one forward, flattened.
typedef struct cresset_outputs cresset_outputs;

// One input: contiguous bytes that outlive the call.
typedef struct {
  const char* name;      // a dictionary's key
  void* data;            // scalar_type elements, row-major
  const int64_t* shape;
  size_t rank;
  int32_t scalar_type;   // c10::ScalarType
} cresset_input;

// How a forward is run.
typedef struct {
  int32_t device_type;   // c10::DeviceType
  int32_t device_index;  // -1 for the CPU
  int32_t inference_mode;
  int32_t dictionary;    // the inputs are one Dict[str, Tensor]
  int32_t keep_apart;    // outputs never share memory with the module
} cresset_run;

void cresset_text_free(char* text);

// Reads a TorchScript file onto a device, in eval mode; freezes it where
// `freeze` says so, it keeps no state and libtorch can.
char* cresset_module_load(const char* path, int32_t device_type, int32_t device_index, int32_t freeze,
                          cresset_module** out);
void cresset_module_free(cresset_module* module);

// `forward`'s arguments without self, a line each: name, type and whether it
// has a default (0 or 1), separated by tabs.
char* cresset_module_arguments(const cresset_module* module, char** out);
// Which attribute forward writes to, or null where it writes to none.
const char* cresset_module_stateful(const cresset_module* module);

char* cresset_module_forward(cresset_module* module, const cresset_run* run, const cresset_input* inputs,
                             size_t count, cresset_outputs** out);

size_t cresset_outputs_count(const cresset_outputs* outputs);
// The key path of an output in a dictionary or a nest, else null.
const char* cresset_outputs_name(const cresset_outputs* outputs, size_t index);
// Hands the at::Tensor over: the caller owns it. Null when taken before.
void* cresset_outputs_take(cresset_outputs* outputs, size_t index);
void cresset_outputs_free(cresset_outputs* outputs);

#ifdef __cplusplus
}
#endif
