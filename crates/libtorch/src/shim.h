// What Cresset asks of libtorch beyond what `tch` gives, as C functions.
//
// Every function that can fail returns a CressetStatus, catches every C++
// exception and leaves nothing behind: what was made before the failure is
// freed. `*error` is then a text that the caller frees with
// cresset_text_free, or null where there was no memory left for one.
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

// The number of a device that stands for wherever a file's tensors were saved.
#define CRESSET_AS_SAVED (-2)

typedef struct CressetModule CressetModule;
typedef struct CressetOutputs CressetOutputs;

// How a module is prepared and run; each field is 0 or 1.
typedef struct {
  // InferenceMode around loading and every forward; else no_grad.
  int32_t inference_mode;
  // Turn attributes into constants, where the module doesn't write to them.
  int32_t freeze;
  // Run without profiling and specialising.
  int32_t simple_executor;
  // Run the graph through libtorch's optimising executor.
  int32_t optimized_execution;
  // libtorch's optimize_for_inference behind freezing; loading fails where it
  // can't be done.
  int32_t for_inference;
} CressetOptions;

// The type that a floating result is to have; `name` is not terminated.
typedef struct {
  const char* name;
  size_t name_length;
  size_t index;
  int32_t scalar_type;
} CressetOutputType;

// What the module computes in, where that isn't what its file holds.
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

// An argument of forward: `kind` is JSON, as arguments.h has it. The texts live
// as long as the module.
typedef struct {
  const char* name;
  const char* kind;
  // Whether it may be left out.
  int32_t optional;
} CressetArgument;

// In the place of a scalar type: `data` holds strings, each behind its length
// (4 bytes, little-endian), as many as the sizes say.
#define CRESSET_STRINGS_TYPE (-1)

// Contiguous elements on the host; `name` is not terminated, and says where in
// forward's arguments they go, as arguments.h has it.
typedef struct {
  const char* name;
  size_t name_length;
  int32_t scalar_type;
  const int64_t* sizes;
  size_t rank;
  const void* data;
  size_t bytes;
} CressetInput;

// A contiguous tensor on the host. `tensor` is an at::Tensor*; whoever takes
// it puts null in its place and deletes it. `data` lives as long as the tensor,
// `sizes` and `name` (null where the model gives none) as long as the outputs.
// Strings lie in a tensor of bytes, as inputs do; `sizes` counts them.
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

// The file that libtorch_cpu was loaded from, or null; lives for ever.
const char* cresset_torch_library(void);

// libtorch keeps this one switch for the whole process.
void cresset_set_tensor_fuser(int32_t enabled);

// This one too.
void cresset_set_cudnn(int32_t enabled);

// And this number, which is fixed once it was set or used: gives the one that
// is in effect.
int32_t cresset_set_inter_op_threads(int32_t count);

// Whether CUDA may round FP32 operands to TF32: 0, 1, or -1 for what libtorch
// starts with. One switch for the whole process.
void cresset_set_tf32(int32_t allowed);

// `device` is -1 for the processors, -2 for wherever the file's tensors were
// when it was saved, else the number of a CUDA device.
CressetStatus cresset_module_load(const char* path, int32_t device, const CressetOptions* options,
                                  const CressetPrecision* precision, CressetModule** module, char** error);

// A module with attributes of its own, for one that can't be shared.
CressetStatus cresset_module_copy(const CressetModule* module, CressetModule** copy, char** error);

// The same, its code rewritten for inference, on the same weights as far as
// they needn't change their layout. Nothing happens to the module itself, which
// may run meanwhile.
CressetStatus cresset_module_for_inference(const CressetModule* module, CressetModule** made, char** error);

void cresset_module_free(CressetModule* module);

size_t cresset_module_arguments(const CressetModule* module);
CressetArgument cresset_module_argument(const CressetModule* module, size_t index);

// Why the module mustn't be shared, or null. Lives as long as the module.
const char* cresset_module_stateful(const CressetModule* module);

// Why the module wasn't frozen although that was asked for, or null.
const char* cresset_module_not_frozen(const CressetModule* module);

// Safe to call from several threads at once unless the module is stateful.
// The inputs' memory must stay as it is until this returns; no output shares
// it then.
CressetStatus cresset_module_forward(const CressetModule* module, const CressetInput* inputs, size_t count,
                                     CressetOutputs** outputs, char** error);

// An instance's way to its device: streams of its own, or copies alone on the
// processors. Used by one thread at a time.
typedef struct CressetLane CressetLane;
// A batch on the device. Freeing it waits for its end.
typedef struct CressetFlight CressetFlight;

CressetStatus cresset_lane_new(int32_t device, CressetLane** lane, char** error);
void cresset_lane_free(CressetLane* lane);

// Puts copies in, forward and copies out on the device's streams and returns.
// The inputs' memory must stay as it is until the flight has landed or is
// freed; where this fails, it is read no more.
CressetStatus cresset_module_launch(const CressetModule* module, CressetLane* lane, const CressetInput* inputs,
                                    size_t count, CressetFlight** flight, char** error);

// Waits until the outputs are on the host, and gives them; once, on any thread.
CressetStatus cresset_flight_land(CressetFlight* flight, CressetOutputs** outputs, char** error);
void cresset_flight_free(CressetFlight* flight);

// Host memory that a device copies from without waiting. It is kept by
// libtorch for the next who asks.
typedef struct CressetPinned CressetPinned;
CressetStatus cresset_pinned_new(int32_t device, size_t bytes, CressetPinned** pinned, char** error);
void* cresset_pinned_start(CressetPinned* pinned);
void cresset_pinned_free(CressetPinned* pinned);

// Waits for all that the device (every CUDA device, for CRESSET_AS_SAVED) was
// given. Fails on a device that the process can't use any more.
CressetStatus cresset_device_synchronize(int32_t device, char** error);

CressetOutput* cresset_outputs_items(CressetOutputs* outputs, size_t* count);
void cresset_outputs_free(CressetOutputs* outputs);

// What an operator should know of the module, a line each. They live as long
// as the module; null behind the last one.
const char* cresset_module_note(const CressetModule* module, size_t index);

// The vector instructions that libtorch's own kernels use on this processor,
// or null; lives for ever.
const char* cresset_cpu_capability(void);

// Bytes of a CUDA device that tensors are in, and that were taken from it;
// zero before its first use.
CressetStatus cresset_device_memory(int32_t device, uint64_t* allocated, uint64_t* reserved, char** error);

// Gives memory of CUDA devices that no tensor is in back to them. Waits for
// what they compute.
CressetStatus cresset_empty_caches(char** error);

// Makes CUDA's allocator use the settings that PYTORCH_ALLOC_CONF holds, and
// fails where they can't be read. Only with CUDA opened, which knows its keys.
CressetStatus cresset_use_allocator_settings(const char* settings, char** error);

#ifdef __cplusplus
}
#endif

#endif
