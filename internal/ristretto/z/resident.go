package z

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// mapped has the files that are mapped now, so that their pages can be released. Its lock is
// held while a mapping ends or moves.
var mapped struct {
	sync.Mutex
	files map[*MmapFile]struct{}
}

func (m *MmapFile) noteMapped() *MmapFile {
	mapped.Lock()
	defer mapped.Unlock()
	if mapped.files == nil {
		mapped.files = map[*MmapFile]struct{}{}
	}
	mapped.files[m] = struct{}{}
	return m
}

// unmap ends the mapping.
func (m *MmapFile) unmap() error {
	mapped.Lock()
	defer mapped.Unlock()
	delete(mapped.files, m)
	return Munmap(m.Data)
}

// remap changes the size of the mapping.
func (m *MmapFile) remap(size int64) (err error) {
	mapped.Lock()
	defer mapped.Unlock()
	m.Data, err = mremap(m.Data, int(size))
	return err
}

// ReleasePages removes the pages of all mapped files from the memory of the process. They stay
// in the kernel's cache, changed ones too, and are mapped again when they are used.
func ReleasePages() error {
	mapped.Lock()
	defer mapped.Unlock()
	var err error
	for m := range mapped.files {
		if len(m.Data) > 0 {
			err = errors.Join(err, release(m.Data))
		}
	}
	return err
}

func release(b []byte) error { return unix.Madvise(b, unix.MADV_DONTNEED) }
