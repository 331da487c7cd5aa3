package main

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// asCyrus returns the credentials of Cyrus's user if this runs as root.
func asCyrus() (*syscall.SysProcAttr, error) {
	uid, gid, err := cyrusIDs()
	if err != nil || os.Geteuid() != 0 {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

func cyrusIDs() (uid, gid int, err error) {
	if os.Geteuid() != 0 {
		return os.Getuid(), os.Getgid(), nil
	}
	u, err := user.Lookup("cyrus")
	if err != nil {
		return 0, 0, err
	}
	uid, err = strconv.Atoi(u.Uid)
	if err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	return uid, gid, err
}

// mkdir creates a directory that belongs to the servers' user.
func mkdir(dir string) error {
	uid, gid, err := cyrusIDs()
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.Chown(dir, uid, gid)
	}
	return err
}

// install copies a program.
func install(from, to string) error {
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	return err
}

// sizeOf sums up the files below a directory.
func sizeOf(dir string) (n int64, err error) {
	_, n, err = filesBelow(dir, func(string) bool { return true })
	return n, err
}

// filesBelow counts the files with certain names, and their bytes.
func filesBelow(dir string, wanted func(name string) bool) (count int, size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !wanted(d.Name()) {
			return err
		}
		i, err := d.Info()
		if err == nil {
			count, size = count+1, size+i.Size()
		}
		return err
	})
	return count, size, err
}
