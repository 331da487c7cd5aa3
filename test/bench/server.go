package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// server is a running server under measurement, with its configuration for the tools.
type server struct {
	subject
	dir, conf string
	env       []string
	addr      string
	procs     []*exec.Cmd
	store     *exec.Cmd // MinIO; nil = none
	endpoint  string    // of MinIO
	kept      func(context.Context) (int64, error)
	complaint output
}

// setup describes how a server is started.
type setup struct {
	connections int // at once; 0 = 1
	compress    bool
	idle        bool     // only our tools: no backupd runs
	lines       []string // more of imapd.conf
}

// output collects the output of several processes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start starts a server in a new directory. The caller ends it with remove.
func (l *lab) start(ctx context.Context, sub subject, set setup) (*server, error) {
	l.count++
	set.connections = max(set.connections, 1)
	s := &server{subject: sub, dir: filepath.Join(l.dir, fmt.Sprint(l.count))}
	err := mkdir(s.dir)
	if err == nil {
		switch sub.kind {
		case null:
			err = l.startNull(s, set)
		case debian:
			err = l.startDebian(s, set)
		case replica:
			err = l.startCyrus(s, set)
		case dirStore:
			err = l.startOnDirectory(s, set)
		case minio:
			err = l.startOnMinio(ctx, s, set)
		default:
			err = errors.New("no such server")
		}
	}
	if err != nil {
		s.remove()
		return nil, fmt.Errorf("start %s: %w: %s", sub.column(), err, tail(s.complaint.String()))
	}
	return s, nil
}

// serve runs n processes of a service like Cyrus's master: the socket is descriptor 4, the status
// pipe is 3.
func (s *server) serve(n int, service, program string, args ...string) error {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer l.Close()
	socket, err := l.File()
	if err != nil {
		return err
	}
	defer socket.Close()
	r, pipe, err := os.Pipe()
	if err != nil {
		return err
	}
	defer pipe.Close()
	go func() {
		defer r.Close()
		_, _ = io.Copy(io.Discard, r) // until the last process has ended
	}()
	s.addr = l.Addr().String()
	for range n {
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), append(s.env, "CYRUS_SERVICE="+service, "CYRUS_ID=1")...)
		cmd.ExtraFiles = []*os.File{pipe, socket}
		cmd.Stdout, cmd.Stderr = &s.complaint, &s.complaint
		if cmd.SysProcAttr, err = asCyrus(); err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		s.procs = append(s.procs, cmd)
	}
	return nil
}

// stop ends the server, but not its store.
func (s *server) stop() {
	for _, c := range s.procs {
		_ = c.Process.Signal(syscall.SIGTERM) // may have ended already
	}
	for _, c := range s.procs {
		t := time.AfterFunc(20*time.Second, func() { _ = c.Process.Kill() })
		_ = c.Wait()
		t.Stop()
	}
	s.procs = nil
}

// remove ends the server and its store, and removes its files.
func (s *server) remove() {
	s.stop()
	if s.store != nil {
		_ = s.store.Process.Kill()
		_ = s.store.Wait()
	}
	_ = os.RemoveAll(s.dir)
}

// tool returns the command line of one of our programs with the server's configuration.
func (s *server) tool(program string, args ...string) *exec.Cmd {
	return s.foreign(filepath.Join(s.build.dir, program), append([]string{"-C", s.conf}, args...)...)
}

// foreign returns the command line of a program that runs as Cyrus's user.
func (s *server) foreign(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.SysProcAttr, cmd.Err = asCyrus()
	return cmd
}

// cpu returns the processor time used so far, by the server and by its store.
func (s *server) cpu() (server, store float64, err error) {
	for _, c := range s.procs {
		t, err := cpuOf(c.Process.Pid)
		if err != nil {
			return 0, 0, fmt.Errorf("%w: %s", err, tail(s.complaint.String()))
		}
		server += t
	}
	if s.store != nil {
		store, err = cpuOf(s.store.Process.Pid)
	}
	return server, store, err
}

// rest waits until the server has finished its work in the background, such as a checkpoint.
func (s *server) rest(ctx context.Context) error {
	const quiet, most = 3, 1200 // ticks
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last, same := -1.0, 0
	for range most {
		cpu, _, err := s.cpu()
		if err != nil {
			return err
		}
		if same++; cpu != last {
			last, same = cpu, 0
		}
		if same >= quiet {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return errors.New("the server does not come to rest")
}

// peak returns the sum of the peak memory of its processes.
func (s *server) peak() (mib float64, err error) {
	for _, c := range s.procs {
		m, err := peakOf(c.Process.Pid)
		if err != nil {
			return 0, err
		}
		mib += m
	}
	return mib, nil
}
