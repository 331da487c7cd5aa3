package z

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// newPages returns n zeroed bytes outside of Go's heap. Only pages that are used take memory, and
// freePages returns them at once, without a garbage collection.
func newPages(n int) []byte {
	if n < leastPages {
		return make([]byte, n)
	}
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(fmt.Sprintf("out of memory: mmap of %d bytes: %v", n, err))
	}
	return b
}

// freePages frees the whole of what newPages returned.
func freePages(b []byte) {
	if len(b) < leastPages {
		return
	}
	if err := unix.Munmap(b); err != nil {
		panic(fmt.Sprintf("munmap of %d bytes: %v", len(b), err))
	}
}

// leastPages is the size of the smallest buffer outside of the heap. Most tables take larger ones.
const leastPages = 64 << 10
