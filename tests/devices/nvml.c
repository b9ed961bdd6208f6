// NVML with the same two GPUs, in the order of the bus, which is the other way round: stands in for
// libnvidia-ml.so.1 in tests/devices.rs. The second tells no power.

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };

typedef struct {
  unsigned version;
  unsigned long long total, reserved, free, used;
} Memory;

typedef struct {
  unsigned gpu, memory;
} Utilization;

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
  snprintf(version, length, "580.65.06");
  return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
  *count = 2;
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if (index > 1) return INVALID_ARGUMENT;
  *device = (void *)(uintptr_t)(index + 1);
  return SUCCESS;
}

static int fast(void *device) { return (uintptr_t)device == 2; }

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
  snprintf(uuid, length, fast(device) ? "GPU-aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
                                      : "GPU-bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb");
  return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *name, unsigned length) {
  snprintf(name, length, fast(device) ? "Fast GPU" : "Slow GPU");
  return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, Memory *memory) {
  memory->total = (fast(device) ? 80ull : 24ull) << 30;
  memory->used = 4ull << 30;
  memory->reserved = 0;
  memory->free = memory->total - memory->used;
  return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, Utilization *rates) {
  rates->gpu = fast(device) ? 75 : 10;
  rates->memory = 5;
  return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
  *milliwatts = 350500;
  return fast(device) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts) {
  *milliwatts = 700000;
  return fast(device) ? SUCCESS : NOT_SUPPORTED;
}

// Two joules with each reading.
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
  static unsigned long long total = 1000000;
  total += 2000;
  *millijoules = total;
  return fast(device) ? SUCCESS : NOT_SUPPORTED;
}
