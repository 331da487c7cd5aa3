package attack

import (
	"fmt"
	"net"
	"testing"
)

// memoryMost is backup_memory_limit of the victim and the 64 MiB beside it (docs/design.md, promise 11).
const memoryMost = (192 + 64) << 20

// Strangers who hold connections do not keep a mail server from its place: its backups succeed at once.
// files is what master's maxfds allows. Without descriptors to spare, a flood from the mail server's own
// address can keep it out (docs/security.md), so that is not among the cases.
func TestStrangersHoldPlaces(t *testing.T) {
	crowdSize, tricklers, literals, messages := 500, 50, 10, 300
	if full() {
		crowdSize, tricklers, literals, messages = 2000, 200, 50, 20000
	}
	for _, files := range []int{400, 3000} {
		for _, addresses := range []int{1, 250} {
			if files == 400 && addresses == 1 || !full() && files == 3000 && addresses == 250 {
				continue
			}
			t.Run(fmt.Sprintf("%d files/%d addresses", files, addresses), func(t *testing.T) {
				v := newVictim(t, files, "backup_memory_limit: 192M")
				quiet := v.backUp("quiet", messages)
				for _, a := range []struct {
					n    int
					does func(net.Conn, <-chan struct{})
				}{{crowdSize, silent}, {tricklers, trickle}, {literals, endless}} {
					c := attack(t, v.port, a.n, addresses, a.does)
					defer func() {
						t.Logf("%d clients: greeted %d times, closed %d times", a.n, c.greeted.Load(), c.closed.Load())
					}()
				}
				loud := v.backUp("loud", messages)
				for i := range 3 {
					v.backUp(fmt.Sprintf("again%d", i), 1)
				}
				if m := v.memory(); m > memoryMost {
					t.Errorf("backupd took %d MiB", m>>20)
				}
				t.Logf("a backup of %d messages: %.2f s quiet, %.2f s beside them (%.2f times), peak %d MiB",
					messages, quiet.Seconds(), loud.Seconds(), loud.Seconds()/quiet.Seconds(), v.memory()>>20)
			})
		}
	}
}
