// C functions for the features of libtorch that `tch` lacks.
//
// Every function that can fail returns a CressetStatus, catches every C++
// exception and frees what it made before the failure. `*error` is then a text
// that the caller frees with cresset_text_free, or null if there was no memory
// for one.
//
// ffi.rs declares the same things for Rust; change both together.
#ifndef CRESSET_SHIM_H
#define CRESSET_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  CRESSET_OK = 0,
  CRESSET_FAILED = 1,
  CRESSET_OUT_OF_MEMORY = 2,
} CressetStatus;

// A device is named as torch writes it, "cpu" or "cuda:0"; null is for a module
// that stays on the devices of its file. A kind is a name without a number,
// "cuda", and stands for all its devices.

typedef struct CressetModule CressetModule;
typedef struct CressetOutputs CressetOutputs;

// How a module is prepared and run; each field is 0 or 1.
typedef struct {
  // InferenceMode around loading and every forward; else no_grad.
  int32_t inference_mode;
  // Turn attributes into constants, if the module doesn't write to them.
  int32_t freeze;
  // Run without profiling and specialising.
  int32_t simple_executor;
  // Run the graph through libtorch's optimising executor.
  int32_t optimized_execution;
  // libtorch's optimize_for_inference after freezing; if it fails, loading
  // fails.
  int32_t for_inference;
} CressetOptions;

// The type of a floating result; `name` is not terminated.
typedef struct {
  const char* name;
  size_t name_length;
  size_t index;
  int32_t scalar_type;
} CressetOutputType;

// The precision of the module, if it differs from its file's.
typedef struct {
  // The scalar type of its floating weights and inputs, or -1.
  int32_t weights;
  // The scalar type of autocast around forward, or -1.
  int32_t autocast;
  // 0 or 1: weights and inputs of four dimensions lie channels last.
  int32_t channels_last;
  const CressetOutputType* outputs;
  size_t output_count;
} CressetPrecision;

// An argument of forward. `kind` is JSON, described in arguments.h. The texts
// live as long as the module.
typedef struct {
  const char* name;
  const char* kind;
  // Whether it may be omitted.
  int32_t optional;
} CressetArgument;

// In place of a scalar type: `data` holds strings, each preceded by its length
// (4 bytes, little-endian), and the sizes give their number.
#define CRESSET_STRINGS_TYPE (-1)

// Contiguous elements on the host. `name` is not terminated; it is the place in
// forward's arguments, as described in arguments.h.
typedef struct {
  const char* name;
  size_t name_length;
  int32_t scalar_type;
  const int64_t* sizes;
  size_t rank;
  const void* data;
  size_t bytes;
} CressetInput;

// A contiguous tensor on the host. `tensor` is an at::Tensor*; a caller that
// takes it puts null in its place and deletes it. `data` lives as long as the
// tensor, `sizes` and `name` as long as the outputs. `name` is null if the
// model gives none. Strings are a tensor of bytes, in the same form as inputs;
// `sizes` counts them.
typedef struct {
  void* tensor;
  const char* name;
  int32_t scalar_type;
  const int64_t* sizes;
  size_t rank;
  const void* data;
  size_t bytes;
} CressetOutput;

void cresset_text_free(char* text);

// TORCH_VERSION of the headers that this was compiled against.
const char* cresset_torch_version(void);

// The file that libtorch_cpu was loaded from, or null; never freed.
const char* cresset_torch_library(void);

// Global to the process in libtorch.
void cresset_set_tensor_fuser(int32_t enabled);

// Global to the process, too.
void cresset_set_cudnn(int32_t enabled);

// Global to the process, too, and fixed once it was set or used. Returns the
// number in effect.
int32_t cresset_set_inter_op_threads(int32_t count);

// Whether CUDA may round FP32 operands to TF32: 0, 1, or -1 for libtorch's
// default. Global to the process.
void cresset_set_tf32(int32_t allowed);

CressetStatus cresset_module_load(const char* path, const char* device, const CressetOptions* options,
                                  const CressetPrecision* precision, CressetModule** module, char** error);

// A module with attributes of its own, for a module that can't be shared.
CressetStatus cresset_module_copy(const CressetModule* module, CressetModule** copy, char** error);

// The same module, its code rewritten for inference. It uses the same weights,
// unless they must change their layout. The original doesn't change, and may
// run meanwhile.
CressetStatus cresset_module_for_inference(const CressetModule* module, CressetModule** made, char** error);

void cresset_module_free(CressetModule* module);

size_t cresset_module_arguments(const CressetModule* module);
CressetArgument cresset_module_argument(const CressetModule* module, size_t index);

// Why the module mustn't be shared, or null. Lives as long as the module.
const char* cresset_module_stateful(const CressetModule* module);

// Why the module wasn't frozen although that was asked for, or null.
const char* cresset_module_not_frozen(const CressetModule* module);

// May be called from several threads at once unless the module is stateful. The
// inputs' memory must stay unchanged until this returns; no output shares it
// then.
CressetStatus cresset_module_forward(const CressetModule* module, const CressetInput* inputs, size_t count,
                                     CressetOutputs** outputs, char** error);

// An instance's way to its device: its own streams, or only copies on the
// processors. Used by one thread at a time.
typedef struct CressetLane CressetLane;
// A batch on the device. Freeing it waits for its end.
typedef struct CressetFlight CressetFlight;

CressetStatus cresset_lane_new(const char* device, CressetLane** lane, char** error);
void cresset_lane_free(CressetLane* lane);

// Enqueues copies in, forward and copies out on the device's streams and
// returns. The inputs' memory must stay unchanged until the flight has landed
// or is freed; if this fails, it is not read any more.
CressetStatus cresset_module_launch(const CressetModule* module, CressetLane* lane, const CressetInput* inputs,
                                    size_t count, CressetFlight** flight, char** error);

// Waits until the outputs are on the host, and returns them; once, on any
// thread.
CressetStatus cresset_flight_land(CressetFlight* flight, CressetOutputs** outputs, char** error);
void cresset_flight_free(CressetFlight* flight);

// Host memory that a device copies from without waiting. libtorch keeps it for
// the next use.
typedef struct CressetPinned CressetPinned;
CressetStatus cresset_pinned_new(const char* device, size_t bytes, CressetPinned** pinned, char** error);
void* cresset_pinned_start(CressetPinned* pinned);
void cresset_pinned_free(CressetPinned* pinned);

// How many devices of the kind there are; 0 if its library isn't open. libtorch
// remembers the first answer.
int32_t cresset_device_count(const char* kind);

// Waits for all work of the device; for null, of every device. Fails on a device
// that the process can't use any more.
CressetStatus cresset_device_synchronize(const char* device, char** error);

CressetOutput* cresset_outputs_items(CressetOutputs* outputs, size_t* count);
void cresset_outputs_free(CressetOutputs* outputs);

// Facts that an operator should know about the module, one line each. They live
// as long as the module; null after the last one.
const char* cresset_module_note(const CressetModule* module, size_t index);

// The vector instructions that libtorch's own kernels use on this processor, or
// null; never freed.
const char* cresset_cpu_capability(void);

// Bytes of an accelerator in tensors, and bytes allocated from it; zero before
// its first use.
CressetStatus cresset_device_memory(const char* device, uint64_t* allocated, uint64_t* reserved, char** error);

// Returns unused memory to the kind's devices. Waits for their work.
CressetStatus cresset_empty_caches(const char* kind, char** error);

// Makes the accelerators' allocator use the settings in PYTORCH_ALLOC_CONF, and
// fails if they are invalid. Only to be called with the library of a kind open,
// which knows its own keys.
CressetStatus cresset_use_allocator_settings(const char* settings, char** error);

#ifdef __cplusplus
}
#endif

#endif
