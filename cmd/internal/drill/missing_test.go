package drill

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/restore"
)

// skipping restores without some messages of a mailbox, and reports nothing about them.
type skipping struct {
	place
	d     *drill
	uids  []uint32
	again func() // gives the comparison all messages
}

func (s *skipping) restore(ctx context.Context) error {
	f := s.d.sel.Folders[0]
	all := f.Messages
	f.Messages = slices.DeleteFunc(slices.Clone(all), func(r restore.Ref) bool { return slices.Contains(s.uids, r.UID) })
	defer func() { f.Messages = all; s.again() }()
	return s.place.restore(ctx)
}

// places returns a drill into a directory, and one into a server.
func places(t *testing.T, p *problems) map[string]*skipping {
	inDir := &directory{drill: &drill{Options: p.options(t.TempDir()), out: new(Result)}}
	inDir.dir = inDir.Scratch + "/mail"
	inSrv := &inServer{drill: &drill{Options: p.into(newTarget(t, "b1").Server), out: new(Result)}}
	return map[string]*skipping{
		"directory": {place: inDir, d: inDir.drill, again: func() {}},
		"server":    {place: inSrv, d: inSrv.drill, again: func() { inSrv.folders[0].Messages = inSrv.sel.Folders[0].Messages }},
	}
}

// A restore that skips messages, and reports nothing, is found: neither is it as if all that was written
// is there, nor do other problems of the restore excuse more than their number.
func TestSilentlySkippedMessages(t *testing.T) {
	for _, test := range []struct {
		uids    []uint32
		excused int
		want    []string
	}{
		{[]uint32{2}, 0, []string{"user.anne uid 2: was not restored"}},
		{[]uint32{1, 4}, 0, []string{"user.anne: 2 messages were not restored, the first is uid 1"}},
		{[]uint32{1, 4}, 1, []string{"a problem", "user.anne: 2 messages were not restored, the first is uid 1"}},
		{[]uint32{2}, 1, []string{"a problem"}},
	} {
		p := new(problems)
		for name, s := range places(t, p) {
			p.list = nil
			s.uids = test.uids
			restoreAndCompare(t, world(t), s.d, s, func() {
				for range test.excused {
					s.d.excused++
					s.d.problem("%w", errors.New("a problem"))
				}
			})
			if !slices.Equal(p.list, test.want) || s.d.out.Problems != len(test.want) {
				t.Errorf("%s without %v: %d problems:\n%s", name, test.uids, s.d.out.Problems, strings.Join(p.list, "\n"))
			}
		}
	}
}
