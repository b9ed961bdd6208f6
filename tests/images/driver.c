// A driver that says there is a GPU, and knows nothing else: stands in for libcuda.so.1 in scripts/test-images.

int cuInit(unsigned flags) {
  (void)flags;
  return 0;
}

int cuDeviceGetCount(int *count) {
  *count = 1;
  return 0;
}
