package replay

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyrusbackup/backupd/replication/client/fakeserver"
)

func listen(addr string) (net.Listener, error) {
	if strings.HasPrefix(addr, "/") {
		return net.Listen("unix", addr)
	}
	return net.Listen("tcp", addr)
}

// listenAndServe runs serve-null until the context ends: a csync server that reads every
// command, answers OK, reports no mailboxes, and reports every message as missing.
func listenAndServe(ctx context.Context, addr string, compress bool, out io.Writer) error {
	l, err := listen(addr)
	if err != nil {
		return &exitError{exitFailed, err}
	}
	if _, err := fmt.Fprintf(out, "listening at %s\n", l.Addr()); err != nil {
		return &exitError{exitFailed, err}
	}
	s := &fakeserver.Server{Null: true, Compress: compress}
	if err := s.Serve(ctx, l); err != nil {
		return &exitError{exitFailed, err}
	}
	st := s.Stats()
	_, err = fmt.Fprintf(out, "%s, %s, %s, %d bytes, %s\n", many(st.Connections, "connection"), many(st.Commands, "command"), many(st.Messages, "message"), st.Bytes, many(st.Records, "record"))
	return err
}

// startNull starts a null server in this process and returns its socket.
func startNull(ctx context.Context) (addr string, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "backup_replay")
	if err != nil {
		return "", nil, err
	}
	addr = filepath.Join(dir, "null")
	l, err := listen(addr)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- (&fakeserver.Server{Null: true, Compress: true}).Serve(ctx, l) }()
	return addr, func() error {
		cancel()
		err := <-done
		if rmErr := os.RemoveAll(dir); err == nil {
			err = rmErr
		}
		return err
	}, nil
}
