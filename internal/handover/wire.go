package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/internal/peercred"
)

const (
	version     = 1
	maxPacket   = 16 << 10        // bytes; packets contain names and settings, no data of connections
	answerLimit = 5 * time.Second // for answers that the other side gives without waiting
	purposePass = "pass"          // a connection follows
	purposeWait = "watch"         // nothing follows; the socket closes when the receiver ends
)

// hello is sent first, by the process that connects.
type hello struct {
	Version     int    `json:"version"`
	PID         int    `json:"pid"`
	Purpose     string `json:"purpose"`
	Fingerprint string `json:"fingerprint"`
}

// welcome is the answer to hello.
type welcome struct {
	PID         int    `json:"pid"`
	Version     int    `json:"version"`
	Fingerprint string `json:"fingerprint"`
	Refused     bool   `json:"refused,omitempty"` // version or fingerprint differ
}

// word is a packet without data.
type word struct {
	Word string `json:"word"`
}

const (
	wordReady = "ready"
	wordTaken = "taken"
)

// pass describes a connection; its descriptor is sent with the packet.
type pass struct {
	Options master.Options `json:"options"`
}

func send(c *net.UnixConn, v any, fds ...int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxPacket {
		return fmt.Errorf("packet of %d bytes", len(b))
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(b, oob, nil)
	return err
}

// receive reads one packet into v and returns the descriptors that came with it, all
// close-on-exec. It returns none if there is an error.
func receive(c *net.UnixConn, v any) (files []*os.File, err error) {
	b := make([]byte, maxPacket)
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	files = descriptors(oob[:oobn])
	switch {
	case n == 0:
		err = io.EOF
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errors.New("packet too long")
	default:
		err = json.Unmarshal(b[:n], v)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// descriptors returns all descriptors that the kernel has put into this process, so that none
// leaks.
func descriptors(oob []byte) []*os.File {
	var files []*os.File
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed connection"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// peerIsUs checks that the other end is a process of the same user, because its options and
// descriptors are trusted.
func peerIsUs(c *net.UnixConn) error {
	cred, err := peercred.Get(c)
	if err != nil {
		return err
	}
	if int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("process %d of user %d is at the other end", cred.Pid, cred.Uid)
	}
	return nil
}
