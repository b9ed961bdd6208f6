/* Loaded before a program's libraries: its sockets wait with small pieces for an acknowledgement, as they do where
   nobody sets TCP_NODELAY. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

int setsockopt(int socket, int level, int name, const void *value, socklen_t size) {
    static int (*really)(int, int, int, const void *, socklen_t);
    if (level == IPPROTO_TCP && name == TCP_NODELAY) return 0;
    if (!really) *(void **)&really = dlsym(RTLD_NEXT, "setsockopt");
    return really(socket, level, name, value, size);
}
