// A driver with two GPUs, as far as `cresset devices` asks: stands in for libcuda.so.1 in tests/devices.rs.
// FAKE_CU_INIT is what cuInit answers, FAKE_GPUS how many devices there are.

#include <stdlib.h>
#include <string.h>

static int number(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}

int cuInit(unsigned flags) {
  (void)flags;
  return number("FAKE_CU_INIT", 0);
}

int cuDeviceGetCount(int *count) {
  *count = number("FAKE_GPUS", 2);
  return 0;
}

int cuDriverGetVersion(int *version) {
  *version = 13010;
  return 0;
}

int cuGetErrorName(int code, const char **text) {
  *text = code == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : "CUDA_ERROR_UNKNOWN";
  return 0;
}

int cuDeviceGet(int *device, int ordinal) {
  *device = ordinal + 40; // a handle is no number of a device
  return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
  strncpy(name, device == 40 ? "Fast GPU" : "Slow GPU", length);
  return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  // 75 and 76 are the two numbers of the compute capability.
  *value = attribute == 75 ? (device == 40 ? 9 : 7) : attribute == 76 ? (device == 40 ? 0 : 5) : -1;
  return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  *bytes = (size_t)(device == 40 ? 80 : 24) << 30;
  return 0;
}

int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
  memset(uuid, device == 40 ? 0xaa : 0xbb, 16);
  return 0;
}
