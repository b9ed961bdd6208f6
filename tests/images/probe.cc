// Looks at an image's libraries from inside; scripts/test-images runs it.
//
//   probe open LIBRARY…           opens each with every symbol bound at once
//   probe call LIBRARY SYMBOL     calls a stub, and expects an exception that names both

#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <exception>

static void *open(const char *library) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr) std::printf("%s\n", dlerror());
  return handle;
}

static int call(const char *library, const char *symbol) {
  void *handle = open(library);
  if (handle == nullptr) return 1;
  auto function = reinterpret_cast<void (*)()>(dlsym(handle, symbol));
  if (function == nullptr) {
    std::printf("%s\n", dlerror());
    return 1;
  }
  try {
    function();
  } catch (const std::exception &error) {
    std::printf("%s\n", error.what());
    return std::strstr(error.what(), library) && std::strstr(error.what(), symbol) ? 0 : 1;
  }
  std::printf("%s of %s doesn't fail\n", symbol, library);
  return 1;
}

int main(int count, char **words) {
  if (count == 4 && std::strcmp(words[1], "call") == 0) return call(words[2], words[3]);
  for (int i = 2; i < count; i++) {
    if (open(words[i]) == nullptr) return 1;
  }
  return 0;
}
