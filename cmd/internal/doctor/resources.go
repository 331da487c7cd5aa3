package doctor

import (
	"math"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"
)

// Space is the room of a file system.
type Space struct {
	Free, Total int64 // bytes that an unprivileged process may use
	Files       int64 // that can be made; -1: no limit
	Memory      bool  // its contents are lost with the power
}

func spaceOf(path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Space{}, err
	}
	s := Space{Free: int64(st.Bavail) * st.Bsize, Total: int64(st.Blocks) * st.Bsize, Files: -1,
		Memory: st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC}
	if st.Files > 0 && st.Ffree < math.MaxInt64 {
		s.Files = int64(st.Ffree)
	}
	return s, nil
}

// opening is the space that the index needs when it is opened, beside its reserve.
const opening = 60 << 20

// room checks the disk of a directory. need is what must be free; a fifth more is a warning.
func (c *checkup) room(r *report, dir string, need int64, advice string) {
	s, err := c.Space(existing(dir))
	switch {
	case err != nil:
		r.fail(dir, "look into the log of the kernel", "the free space of its disk cannot be found: %v", err)
	case s.Free < need:
		r.fail(dir, advice, "its disk has %s free, %s are needed", humanize.IBytes(uint64(max(0, s.Free))), humanize.IBytes(uint64(need)))
	case s.Files == 0:
		r.fail(dir, "remove files from this disk, or use one with more inodes", "its disk has no inode left")
	case s.Free < 2*need:
		r.warn(dir, advice, "its disk has only %s free", humanize.IBytes(uint64(s.Free)))
	}
}

// memory checks that the limit of the daemon fits into this host.
func (c *checkup) memory() {
	limit, total := c.conf.Size("backup_memory_limit"), c.Facts.Memory
	switch {
	case total == 0:
		c.ok("", "not checked: the memory of this host is unknown")
	case limit > total/2:
		c.warn(c.conf.Origin("backup_memory_limit").String(), "backup_memory_limit: 192M, or more memory",
			"backup_memory_limit (%s) is more than half of the memory of this host (%s)", humanize.IBytes(uint64(limit)), humanize.IBytes(uint64(total)))
	default:
		c.ok("", "%s of %s", humanize.IBytes(uint64(limit)), humanize.IBytes(uint64(total)))
	}
}
