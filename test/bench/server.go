package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// server is a running server under measurement.
type server struct {
	addr      string
	procs     []*exec.Cmd
	store     *exec.Cmd // MinIO; nil = none
	kept      func(context.Context) (int64, error)
	complaint output
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

func (l *lab) start(ctx context.Context, name, dir string, w workload) (*server, error) {
	if err := mkdir(dir); err != nil {
		return nil, err
	}
	s := &server{}
	var err error
	switch name {
	case "null":
		err = l.startNull(s, w)
	case "debian":
		err = l.startDebian(s, dir, w)
	case "dir":
		err = l.startOurs(s, dir, filepath.Join(dir, "store"), nil, w)
		s.kept = func(context.Context) (int64, error) { return sizeOf(filepath.Join(dir, "store")) }
	case "minio":
		err = l.startOnMinio(ctx, s, dir, w)
	default:
		err = errors.New("no such server")
	}
	if err != nil {
		s.stop()
	}
	return s, err
}

// serve runs n processes of a service like Cyrus's master: the socket is descriptor 4, the status
// pipe is 3.
func (s *server) serve(n int, env []string, program string, args ...string) error {
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
		cmd.Env = append(os.Environ(), append(env, "CYRUS_SERVICE=backupd", "CYRUS_ID=1")...)
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

func (s *server) stop() {
	for _, c := range s.procs {
		_ = c.Process.Signal(syscall.SIGTERM) // may have ended already
	}
	for _, c := range s.procs {
		t := time.AfterFunc(10*time.Second, func() { _ = c.Process.Kill() })
		_ = c.Wait()
		t.Stop()
	}
	if s.store != nil {
		_ = s.store.Process.Kill()
		_ = s.store.Wait()
	}
}

// cpu returns the processor time used so far, by the server and by its store.
func (s *server) cpu() (server, store float64, err error) {
	for _, c := range s.procs {
		t, err := cpuOf(c.Process.Pid)
		if err != nil {
			return 0, 0, fmt.Errorf("%w: %s", err, s.complaint.String())
		}
		server += t
	}
	if s.store != nil {
		store, err = cpuOf(s.store.Process.Pid)
	}
	return server, store, err
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
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		i, err := d.Info()
		if err == nil {
			n += i.Size()
		}
		return err
	})
	return n, err
}

// cpuOf returns seconds (proc(5): fields 14 and 15 of stat, in ticks of 1/100 s).
func cpuOf(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err := strconv.ParseFloat(f[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100, err
}

// peakOf returns VmHWM in MiB.
func peakOf(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	line, _, _ := strings.Cut(rest, "kB")
	kib, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
	return kib / 1024, err
}
