package backupd

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/internal/master/mastertest"
)

// hasIndex waits until child reports that it owns the index.
func hasIndex(t *testing.T, child *mastertest.Child) {
	t.Helper()
	mastertest.Eventually(t, "the process has the index", func() bool { return strings.Contains(child.Stderr.String(), "has the index") })
}

// group is three processes on one index, of three services with one address each. The first
// process is the owner.
type group struct {
	services []*mastertest.Master
	children []*mastertest.Child
}

func startGroup(t *testing.T, h *host) *group {
	t.Helper()
	g := &group{}
	options := [][]string{nil, {"-N"}, {"-s", "-p", "71"}}
	addresses := [][2]string{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"unix", h.path("conf/csync")}}
	for i, a := range addresses {
		m := mastertest.Listen(t, fmt.Sprintf("backupd%d", i), i, a[0], a[1])
		g.services = append(g.services, m)
		g.children = append(g.children, h.start(m, options[i]...))
		if i == 0 {
			hasIndex(t, g.children[0])
		}
	}
	if err := chmodAll(h.path("conf/csync")); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestOthersHandConnectionsToTheOwner(t *testing.T) {
	h := newHost(t)
	g := startGroup(t, h)
	owner := g.children[0].PID
	greetings := []string{
		fmt.Sprintf("* HELLO %d backupd0 false false 0 tcp [127.0.0.1]", owner),
		fmt.Sprintf("* HELLO %d backupd1 false true 0 tcp [::1]", owner),
		fmt.Sprintf("* HELLO %d backupd2 true false 71 unix [unix socket]", owner),
	}
	var clients []*client
	for i := range 64 {
		clients = append(clients, dial(t, g.services[i%3]))
	}
	for i, c := range clients {
		c.want(greetings[i%3])
	}
	for _, c := range clients {
		c.ask("INDEX", fmt.Sprintf("OK %d", owner))
	}
	for i, m := range g.services {
		want := slices.Repeat([]mastertest.Message{{Message: 4, PID: g.children[i].PID}}, (64+2-i)/3)
		mastertest.Eventually(t, "a message for each connection", func() bool { return len(m.Messages()) >= len(want) })
		if got := m.Messages(); !slices.Equal(got, want) {
			t.Errorf("service %d: status messages %v", i, got)
		}
	}
}

func TestKilledOwnerIsReplacedAtOnce(t *testing.T) {
	h := newHost(t)
	g := startGroup(t, h)
	var before []*client
	for i := range 64 {
		before = append(before, dial(t, g.services[1+i%2]))
	}
	// The owner dies while clients wait for greetings. Each client is served by the owner or its
	// successor, or is cut off with the owner.
	before[0].hello()
	g.children[0].Signal(syscall.SIGKILL)
	served := map[int]int{}
	for _, c := range before[1:] {
		line, err := c.r.ReadString('\n')
		var pid int
		if err == nil {
			if _, err := fmt.Sscanf(line, "* HELLO %d", &pid); err != nil {
				t.Fatalf("greeting %q", line)
			}
		}
		served[pid]++
	}
	t.Logf("served by pid (0: cut off): %v", served)
	var after []*client
	for i := range 64 {
		after = append(after, dial(t, g.services[1+i%2]))
	}
	owners := map[string]bool{}
	for _, c := range after {
		pid := c.hello()
		if pid == g.children[0].PID {
			t.Fatal("served by the dead")
		}
		c.ask("INDEX", fmt.Sprintf("OK %d", pid))
		owners[fmt.Sprint(pid)] = true
	}
	if len(owners) != 1 {
		t.Errorf("served by %v", owners)
	}
}

func TestNewcomerGreetsWhileTheOwnerDrains(t *testing.T) {
	h := newHost(t)
	g := startGroup(t, h)
	busy := dial(t, g.services[1])
	if pid := busy.hello(); pid != g.children[0].PID {
		t.Fatalf("served by %d", pid)
	}
	busy.ask("LITERAL", "+ go on")
	g.children[0].Signal(syscall.SIGTERM)
	mastertest.Eventually(t, "the owner drains", func() bool { return len(g.services[0].Messages()) == 1 })
	// All connections of the others end up in one process, which waits.
	var waiting []*client
	for i := range 8 {
		waiting = append(waiting, dial(t, g.services[1+i%2]))
	}
	successor := waiting[0].hello()
	if successor == g.children[0].PID {
		t.Fatal("the owner still takes connections")
	}
	for _, c := range waiting[1:] {
		if pid := c.hello(); pid != successor {
			t.Fatalf("served by %d and %d", successor, pid)
		}
	}
	for _, c := range waiting {
		c.send("INDEX")
	}
	busy.ask("the literal", "OK stored")
	busy.want("* BYE draining")
	if code := g.children[0].Status(); code != master.ExitTempFail {
		t.Errorf("status %d", code)
	}
	for _, c := range waiting {
		c.want(fmt.Sprintf("OK %d", successor))
	}
}

func TestWaitingSessionsOutliveTheUsesOfTheirProcess(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	owner := h.start(m)
	busy := dial(t, m)
	busy.hello()
	busy.ask("LITERAL", "+ go on")
	owner.Signal(syscall.SIGTERM)
	mastertest.Eventually(t, "the owner drains", func() bool { return len(m.Messages()) == 2 })
	successor := h.start(m, "-U2")
	waiting := []*client{dial(t, m), dial(t, m)}
	for _, c := range waiting {
		c.hello()
	}
	mastertest.Eventually(t, "the successor has reached -U", func() bool { return len(m.Messages()) == 5 })
	// The next process still passes its connections to it, because two waiting processes could
	// conflict.
	h.start(m)
	waiting = append(waiting, dial(t, m))
	if pid := waiting[2].hello(); pid != successor.PID {
		t.Errorf("third connection served by %d", pid)
	}
	for _, c := range waiting {
		c.send("INDEX")
	}
	busy.ask("the literal", "OK stored")
	for _, c := range waiting {
		c.want(fmt.Sprintf("OK %d", successor.PID))
		c.send("EXIT")
	}
	if code := successor.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
}

func TestOwnerThatReachesItsUsesIsFollowed(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	first := h.start(m, "-U", "10")
	hasIndex(t, first)
	second := h.start(m)
	pids := map[int]int{}
	for range 40 {
		c := dial(t, m)
		pid := c.hello()
		pids[pid]++
		c.ask("INDEX", fmt.Sprintf("OK %d", pid))
		c.send("EXIT")
		c.gone()
	}
	if code := first.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
	if pids[second.PID] == 0 || len(pids) != 2 {
		t.Errorf("served by %v", pids)
	}
	for _, msg := range m.Messages() {
		if msg.Message == 2 && msg.PID != first.PID {
			t.Errorf("status message %v", msg)
		}
	}
}

func TestNewcomerWithOtherPartitionsIsRefused(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	hasIndex(t, h.start(m))
	h.configure("backuppartition-default: /elsewhere")
	newcomer := h.start(h.service(1))
	if code := newcomer.Status(); code != master.ExitConfig {
		t.Errorf("status %d", code)
	}
	for _, words := range []string{"/elsewhere", h.path("store"), "same"} {
		if !strings.Contains(newcomer.Stderr.String(), words) {
			t.Errorf("does not say %q", words)
		}
	}
	dial(t, m).hello()
}

func TestStoppedOwnerDoesNotKeepClientsFromBeingGreeted(t *testing.T) {
	h := newHost(t)
	g := startGroup(t, h)
	dial(t, g.services[1]).hello()
	dial(t, g.services[2]).hello() // both know the owner
	g.children[0].Signal(syscall.SIGSTOP)
	mastertest.Eventually(t, "the owner has stopped", func() bool { // others wait longer for an owner that still accepts
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.children[0].PID))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	c := dial(t, g.services[1])
	if pid := c.hello(); pid != g.children[1].PID {
		t.Errorf("greeted by %d", pid)
	}
	c.send("INDEX")
	g.children[0].Signal(syscall.SIGKILL)
	// One of the two owns the index now and answers. The other only reports that it does not own
	// the index.
	second := dial(t, g.services[2])
	pid := second.hello()
	second.ask("INDEX", fmt.Sprintf("OK %d", pid))
}

func TestOwnerFullOfConnections(t *testing.T) {
	h := newHost(t)
	h.configure("backup_max_connections: 3")
	g := startGroup(t, h)
	var clients []*client
	for range 3 {
		c := dial(t, g.services[0])
		c.hello()
		clients = append(clients, c)
	}
	late := dial(t, g.services[1])
	mastertest.Eventually(t, "the newcomer has accepted", func() bool { return len(g.services[1].Messages()) == 1 })
	clients[0].send("EXIT")
	if pid := late.hello(); pid != g.children[0].PID {
		t.Errorf("served by %d", pid)
	}
}
