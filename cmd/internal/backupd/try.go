package backupd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// try checks whether a new process could start with the changes in conf: partitions, the
// place of the index, sockets. master would start a process in any case, and close the
// service's socket after five failures.
func try(ctx context.Context, was, conf *imapconf.File) error {
	errs := []error{stores.Try(ctx, was, conf)}
	for option, check := range map[string]func(string) error{
		"backup_index_path":     tryIndex,
		"backup_control_socket": tryDirectory,
		"backup_metrics_listen": tryListen,
		"backup_metrics_file":   tryFile,
	} {
		value := conf.String(option)
		if value == was.String(option) {
			continue
		}
		if err := check(value); err != nil {
			errs = append(errs, conf.Errorf(option, "%w", err))
		}
	}
	return errors.Join(errs...)
}

// tryIndex checks that the index, and the files beside it, can be created.
func tryIndex(path string) error {
	if err := tryDirectory(path); err != nil {
		return err
	}
	if err := unix.Access(path, unix.R_OK|unix.W_OK|unix.X_OK); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "access", Path: path, Err: err}
	}
	return nil
}

// tryDirectory creates the directory of a file and checks that files can be created there.
func tryDirectory(path string) error {
	dir := filepath.Dir(filepath.Clean(path))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "access", Path: dir, Err: err}
	}
	return nil
}

// tryFile checks the directory of a file, which need not be used.
func tryFile(path string) error {
	if path == "" {
		return nil
	}
	return unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK)
}

func tryListen(at string) error {
	if at == "" {
		return nil
	}
	if filepath.IsAbs(at) {
		return tryDirectory(at)
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return l.Close()
}
