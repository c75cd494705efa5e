//go:build cgo && linux

package main

// What the databases cache, and what they are about to write, comes from C's malloc.
// glibc's serves the threads from up to eight arenas for each core, and every one of them
// keeps what it once had: 28 MiB were resident for 8 in use. Two do, from before the first
// thread starts. Large pieces stay out of them, as else they do only until the first is
// freed. Who sets one of the variables below decides it instead.

/*
#include <malloc.h>
#include <stdlib.h>

__attribute__((constructor)) static void bound_arenas(void) {
#ifdef M_ARENA_MAX // glibc's
	if (getenv("MALLOC_ARENA_MAX") || getenv("MALLOC_MMAP_THRESHOLD_") || getenv("GLIBC_TUNABLES"))
		return;
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}
*/
import "C"
