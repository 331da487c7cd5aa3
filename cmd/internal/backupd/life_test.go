package backupd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/internal/master/mastertest"
)

func TestEachConnectionIsReportedOnce(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	child := h.start(m)
	var want []mastertest.Message
	for range 5 {
		c := dial(t, m)
		if pid := c.hello(); pid != child.PID {
			t.Fatalf("served by %d, not %d", pid, child.PID)
		}
		c.ask("INDEX", fmt.Sprintf("OK %d", child.PID))
		want = append(want, mastertest.Message{Message: 4, PID: child.PID})
	}
	if got := m.Messages(); !slices.Equal(got, want) {
		t.Errorf("status messages %v, want %v", got, want)
	}
}

func TestTermEndsSessionsAtTheirCommandBoundary(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	child := h.start(m)
	idle, busy := dial(t, m), dial(t, m)
	idle.hello()
	busy.hello()
	busy.ask("LITERAL", "+ go on")
	child.Signal(syscall.SIGTERM)
	idle.want("* BYE draining")
	idle.gone()
	if child.Exited() {
		t.Fatal("ended with a command running")
	}
	busy.ask("the literal", "OK stored")
	busy.want("* BYE draining")
	if code := child.Status(); code != master.ExitTempFail {
		t.Errorf("status %d", code)
	}
	want := []mastertest.Message{{Message: 4, PID: child.PID}, {Message: 4, PID: child.PID}, {Message: 2, PID: child.PID}}
	if got := m.Messages(); !slices.Equal(got, want) {
		t.Errorf("status messages %v, want %v", got, want)
	}
}

func TestTermBeforeAnyConnection(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	child := h.start(m)
	mastertest.Eventually(t, "the process has the index", func() bool { return strings.Contains(child.Stderr.String(), "has the index") })
	child.Signal(syscall.SIGTERM)
	if code := child.Status(); code != master.ExitTempFail {
		t.Errorf("status %d", code)
	}
}

// A process that cannot close its index exits nevertheless. The next one reports what it waited for.
func TestProcessThatDoesNotEnd(t *testing.T) {
	t.Setenv(endVariable, "200ms")
	h := newHost(t)
	h.mkdir("conf/backup-index")
	h.write("conf/backup-index/stuck", "")
	m := h.service(0)
	child := h.start(m)
	mastertest.Eventually(t, "the process has the index", func() bool { return strings.Contains(child.Stderr.String(), "has the index") })
	child.Signal(syscall.SIGTERM)
	if code := child.Status(); code != master.ExitTempFail {
		t.Errorf("status %d", code)
	}
	if said := child.Stderr.String(); !strings.Contains(said, "does not end") {
		t.Errorf("the log does not report it:\n%s", said)
	}
	next := h.start(m)
	mastertest.Eventually(t, "the next process reports it", func() bool {
		said := next.Stderr.String()
		return strings.Contains(said, "did not end within 200ms") && strings.Contains(said, "(*echo).Close")
	})
}

// A process that does not even begin to wait for its sessions exits, too.
func TestProcessStuckBeforeItsEnd(t *testing.T) {
	t.Setenv(endVariable, "200ms")
	h := newHost(t)
	h.write("imapd.conf", "configdirectory: "+h.path("conf")+"\nbackup_drain_timeout: 1s\nbackuppartition-default: /x\n")
	m := h.service(0)
	child := h.start(m)
	mastertest.Eventually(t, "the process has the index", func() bool { return strings.Contains(child.Stderr.String(), "has the index") })
	m.Stall()
	child.Signal(syscall.SIGTERM)
	if code := child.Status(); code != master.ExitTempFail {
		t.Errorf("status %d", code)
	}
	next := h.start(h.service(0))
	mastertest.Eventually(t, "the next process reports it", func() bool {
		said := next.Stderr.String()
		return strings.Contains(said, "did not end within 6.2s") && strings.Contains(said, "(*Status).send")
	})
}

func TestDrainTimeoutCutsOff(t *testing.T) {
	h := newHost(t)
	h.write("imapd.conf", "configdirectory: "+h.path("conf")+"\nbackup_drain_timeout: 1s\nbackuppartition-default: /x\n")
	m := h.service(0)
	child := h.start(m)
	c := dial(t, m)
	c.hello()
	c.ask("LITERAL", "+ go on")
	child.Signal(syscall.SIGTERM)
	c.gone()
	if code := child.Status(); code != master.ExitTempFail {
		t.Errorf("status %d", code)
	}
}

func TestSecondSignalKills(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	child := h.start(m)
	c := dial(t, m)
	c.hello()
	c.ask("LITERAL", "+ go on")
	child.Signal(syscall.SIGTERM)
	mastertest.Eventually(t, "death by a second signal", func() bool {
		if !child.Exited() {
			child.Signal(syscall.SIGTERM)
		}
		return child.Exited()
	})
	if code := child.Status(); code != -1 {
		t.Errorf("status %d", code)
	}
}

func TestUsesAreServedToTheirEnd(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	child := h.start(m, "-U2")
	first, second, third := dial(t, m), dial(t, m), dial(t, m)
	first.hello()
	second.hello()
	second.ask("still served", "OK still served")
	mastertest.Eventually(t, "a successor is asked for", func() bool {
		return slices.Contains(m.Messages(), mastertest.Message{Message: 2, PID: child.PID})
	})
	first.send("EXIT")
	second.ask("and still", "OK and still")
	second.send("EXIT")
	if code := child.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
	successor := h.start(m, "-U", "2")
	if pid := third.hello(); pid != successor.PID {
		t.Errorf("third connection served by %d, not %d", pid, successor.PID)
	}
	mastertest.Eventually(t, "four status messages", func() bool { return len(m.Messages()) == 4 })
}

func TestIdleCountsOnlyAfterAConnection(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	child := h.start(m, "-T", "1")
	mastertest.Eventually(t, "the process has the index", func() bool { return strings.Contains(child.Stderr.String(), "has the index") })
	c := dial(t, m)
	c.hello()
	c.send("EXIT")
	if code := child.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
}

func TestHangUpReloads(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	child := h.start(m)
	c := dial(t, m)
	c.hello()
	h.configure("colour: blue")
	child.Signal(syscall.SIGHUP)
	mastertest.Eventually(t, "the new configuration", func() bool {
		c.send("CONF colour")
		return c.recv() == "OK blue"
	})
	h.configure("colour: red\nbackup_pack_size: nonsense")
	child.Signal(syscall.SIGHUP)
	mastertest.Eventually(t, "a complaint", func() bool {
		return strings.Contains(child.Stderr.String(), "backup_pack_size")
	})
	c.ask("CONF colour", "OK blue")
	if len(m.Messages()) != 1 {
		t.Errorf("status messages %v", m.Messages())
	}
}

func TestReloadThatNeedsANewProcess(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	child := h.start(m)
	c := dial(t, m)
	c.hello()
	h.configure("backuppartition-default: /elsewhere")
	child.Signal(syscall.SIGHUP)
	mastertest.Eventually(t, "a successor is asked for", func() bool { return len(m.Messages()) == 2 })
	c.ask("still served", "OK still served")
	c.send("EXIT")
	if code := child.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
}

func TestChangedProgramIsReplaced(t *testing.T) {
	for _, noticed := range []string{"by SIGHUP", "at a connection"} {
		t.Run(noticed, func(t *testing.T) {
			h := newHost(t)
			m := h.service(0)
			child := h.start(m)
			c := dial(t, m)
			c.hello()
			h.installProgram()
			if noticed == "by SIGHUP" {
				child.Signal(syscall.SIGHUP)
			} else {
				dial(t, m).hello()
			}
			mastertest.Eventually(t, "a successor is asked for", func() bool {
				return slices.Contains(m.Messages(), mastertest.Message{Message: 2, PID: child.PID})
			})
			c.ask("still served", "OK still served")
			child.Signal(syscall.SIGTERM)
			if code := child.Status(); code != master.ExitTempFail {
				t.Errorf("status %d", code)
			}
		})
	}
}

func TestRemovedService(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	child := h.start(m)
	c := dial(t, m)
	c.hello()
	m.Remove()
	mastertest.Eventually(t, "the loss is noticed", func() bool { return strings.Contains(child.Stderr.String(), "closed the socket") })
	c.ask("still served", "OK still served")
	c.send("EXIT")
	if code := child.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
	if len(m.Messages()) != 1 {
		t.Errorf("status messages %v", m.Messages())
	}
}

func TestShutdownFile(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	h.start(m)
	c := dial(t, m)
	c.hello()
	h.write("conf/msg/shutdown.imap", "not for us\n")
	c.ask("still served", "OK still served")
	h.write("conf/msg/shutdown", "new disks\nuntil noon\n")
	c.send("last") // the server may have looked for the file before or after it came
	if line := c.recv(); line == "OK last" {
		c.want("* BYE new disks")
	} else if line != "* BYE new disks" {
		t.Errorf("got %q", line)
	}
	h.write("conf/msg/shutdown.backupd", "only this one\n")
	dial(t, m).want("* BYE only this one")
}

func TestLimitOfConnections(t *testing.T) {
	h := newHost(t)
	h.configure("backup_max_connections: 2")
	m := h.service(0)
	h.start(m)
	first, second := dial(t, m), dial(t, m)
	first.hello()
	second.hello()
	third := dial(t, m)
	if n := len(m.Messages()); n != 2 {
		t.Fatalf("%d accepted", n)
	}
	first.send("EXIT")
	third.hello()
}

func TestFaultEndsOneSession(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	h.start(m)
	first, second := dial(t, m), dial(t, m)
	first.hello()
	second.hello()
	first.send("FAULT")
	first.gone()
	second.ask("still served", "OK still served")
}

func TestProcFile(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	child := h.start(m)
	path := filepath.Join(h.path("conf/proc"), fmt.Sprint(child.PID))
	is := func(want string) {
		t.Helper()
		mastertest.Eventually(t, want, func() bool {
			b, err := os.ReadFile(path)
			return err == nil && string(b) == want
		})
	}
	is("backupd\t\t\t\tidle\n")
	c := dial(t, m)
	c.hello()
	is("backupd\t[127.0.0.1]\t\t\t1 session\n")
	c.ask("LOGIN repl", "OK")
	is("backupd\t[127.0.0.1]\trepl\t\t1 session\n")
	c.send("EXIT")
	is("backupd\t\t\t\tidle\n")
	child.Signal(syscall.SIGTERM)
	child.Status()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}
