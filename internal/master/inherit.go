package master

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Descriptors that master gives a service (master/service.h).
const (
	statusFD = 3 // STATUS_FD
	listenFD = 4 // LISTEN_FD
)

// systemdFD is the first descriptor of socket activation (sd_listen_fds(3)).
const systemdFD = 3

// maxSystemdFDs limits LISTEN_FDS, which comes from the environment.
const maxSystemdFDs = 64

// Inherited is the environment that the process was started with.
type Inherited struct {
	Service   string         // CYRUS_SERVICE; "backupd" without master
	ID        int            // CYRUS_ID: which of the service's addresses
	Listeners []net.Listener // none: serve standard input and output
	Status    *Status        // nil without master
}

// ErrDaemon means that the program is listed in the DAEMON section of cyrus.conf, whose entries get
// no socket.
var ErrDaemon = errors.New("started from the DAEMON section of cyrus.conf: move the entry to SERVICES, with listen=")

// Inherit takes over the descriptors that the environment announces: those of master (CYRUS_SERVICE,
// CYRUS_ID) or systemd (LISTEN_FDS, LISTEN_PID), or none. It sets close-on-exec before any other
// process can be started. An error means that the announced descriptors are missing or are not
// listening sockets.
func Inherit(getenv func(string) string) (*Inherited, error) {
	in := &Inherited{Service: getenv("CYRUS_SERVICE")}
	if in.Service != "" {
		return in, in.fromMaster(getenv)
	}
	in.Service = "backupd"
	n, err := systemdCount(getenv)
	if err != nil || n == 0 {
		return in, err
	}
	for fd := systemdFD; fd < systemdFD+n; fd++ {
		unix.CloseOnExec(fd)
	}
	for fd := systemdFD; fd < systemdFD+n; fd++ {
		if err := in.listen(fd); err != nil {
			return in, err
		}
	}
	return in, nil
}

func (in *Inherited) fromMaster(getenv func(string) string) error {
	unix.CloseOnExec(statusFD)
	unix.CloseOnExec(listenFD)
	if getenv("CYRUS_ISDAEMON") != "" {
		return ErrDaemon
	}
	id, err := strconv.Atoi(getenv("CYRUS_ID"))
	if err != nil {
		return fmt.Errorf("CYRUS_ID: %w", err)
	}
	in.ID = id
	var st unix.Stat_t
	if err := unix.Fstat(statusFD, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return fmt.Errorf("descriptor %d is not master's status pipe", statusFD)
	}
	in.Status = NewStatus(os.NewFile(statusFD, "master status"), os.Getpid())
	return in.listen(listenFD)
}

// listen adds the listening socket fd. net.FileListener duplicates it, so the original is closed:
// otherwise the socket would stay open after we stop accepting.
func (in *Inherited) listen(fd int) error {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if typ != unix.SOCK_STREAM {
		return fmt.Errorf("descriptor %d is not a stream socket: proto= in cyrus.conf must be tcp, tcp4 or tcp6", fd)
	}
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on == 0 {
		return fmt.Errorf("descriptor %d is not a listening socket", fd)
	}
	f := os.NewFile(uintptr(fd), "listener")
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", fd, err)
	}
	in.Listeners = append(in.Listeners, l)
	return f.Close()
}

// systemdCount reads the environment of sd_listen_fds(3); 0 means that it is not for this process.
func systemdCount(getenv func(string) string) (int, error) {
	if getenv("LISTEN_FDS") == "" || getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > maxSystemdFDs {
		return 0, fmt.Errorf("LISTEN_FDS=%q", getenv("LISTEN_FDS"))
	}
	return n, nil
}
