package master

import (
	"encoding/binary"
	"io"
	"sync"
)

// The messages of master/service.h that a multi-threaded service needs.
const (
	msgUnavailable     = 2 // MASTER_SERVICE_UNAVAILABLE
	msgConnectionMulti = 4 // MASTER_SERVICE_CONNECTION_MULTI
)

// Status writes to master's status pipe. A nil *Status is for a process without master; its methods
// do nothing.
//
// master considers a child READY from its fork. CONNECTION_MULTI is the only message that counts a
// connection and leaves the child READY, which keeps master from starting a second one; in BUSY it
// is an error in master's log. UNAVAILABLE changes READY to BUSY, once: master then watches the
// socket itself and starts a successor while this process drains. A second UNAVAILABLE, an AVAILABLE
// in READY and a CONNECTION in READY each cause a complaint in the log. (master/master.c,
// process_msg.) Status keeps that order whatever its callers do.
type Status struct {
	mu          sync.Mutex
	w           io.Writer
	pid         int32
	unavailable bool
}

// NewStatus returns a Status that writes to w, the pipe. pid must be the process that master forked.
func NewStatus(w io.Writer, pid int) *Status {
	return &Status{w: w, pid: int32(pid)}
}

// Connection reports one accepted connection.
func (s *Status) Connection() { s.send(msgConnectionMulti) }

// Unavailable reports that this process accepts no more and that a successor can be started. It is
// the last message.
func (s *Status) Unavailable() { s.send(msgUnavailable) }

// send writes {int32 message, int32 pid} with one write, which a pipe keeps together. An error means
// that master has ended; its children continue, and the count is no longer needed.
func (s *Status) send(msg uint32) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unavailable {
		return
	}
	s.unavailable = msg == msgUnavailable
	var b [8]byte
	binary.NativeEndian.PutUint32(b[:4], msg)
	binary.NativeEndian.PutUint32(b[4:], uint32(s.pid))
	if _, err := s.w.Write(b[:]); err != nil {
		s.w = io.Discard
	}
}
