package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"backupd/replication/client/fakeserver"
)

func listen(addr string) (net.Listener, error) {
	if strings.HasPrefix(addr, "/") {
		return net.Listen("unix", addr)
	}
	return net.Listen("tcp", addr)
}

func serveNullCommand() *cobra.Command {
	var compress bool
	cmd := &cobra.Command{
		Use:   "serve-null LISTEN",
		Short: "accept everything and store nothing, at host:port or the UNIX socket /path",
		Long: "A csync server that reads every command, answers OK, reports no mailboxes and lacks every message. Pushing to it\n" +
			"measures what this program and the connection can do. Any user and password are accepted. It ends on SIGINT or SIGTERM.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := listen(args[0])
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "listening at %s\n", l.Addr()); err != nil {
				return err
			}
			s := &fakeserver.Server{Null: true, Compress: compress}
			if err := s.Serve(cmd.Context(), l); err != nil {
				return err
			}
			st := s.Stats()
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d connections, %d commands, %d messages, %d bytes, %d records\n", st.Connections, st.Commands, st.Messages, st.Bytes, st.Records)
			return err
		},
	}
	cmd.Flags().BoolVar(&compress, "compress", false, "offer COMPRESS DEFLATE")
	return cmd
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
