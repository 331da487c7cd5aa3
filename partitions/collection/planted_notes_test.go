package collection_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/test/soak/planted"
)

// The tests find each planted bug in the removal of notes.
func TestNotesPlantedBugs(t *testing.T) {
	planted.Find(t, map[string]planted.Bug{
		"a note ends at once":                    {File: "retire.go", Is: "n.Unused.Add(t.age).Before(t.began)", Bug: "!n.Unused.IsZero()", Test: "TestNoteIsRetired"},
		"no day before a note is removed":        {File: "retire.go", Is: "n.Ending.Add(endingAge).Before(t.began)", Bug: "!n.Ending.IsZero()", Test: "TestNoteIsRetired"},
		"needed notes are removed":               {File: "retire.go", Is: "_, needed := led.find(id)", Bug: "_, needed := led.find(Pack{})", Test: "TestNeededNoteStays"},
		"notes of existing packs are removed":    {File: "packs.go", Is: "if noted && nerr == nil {", Bug: "if noted && nerr != nil {", Test: "TestNeededNoteStays"},
		"a removal without effect is repeated":   {File: "retire.go", Is: "n.Ending = t.now // a copy", Bug: "n = history.RetiredNote{Pack: n.Pack, Removed: t.now}\n\t\t\tt.due = append(t.due, Pack(n.Pack)) // a copy", Test: "TestRemovalWithoutEffect"},
		"due erasures need no note":              {File: "retire.go", Is: "beginErasing(p.opt.Erase)", Bug: "beginErasing(nil)", Test: "TestNoteOfErasureStays"},
		"later erasures need no note":            {File: "retire.go", Is: "beginErasing(p.keep)", Bug: "beginErasing(nil)", Test: "TestNoteOfErasureStays"},
		"erasures of unknown packs need none":    {File: "retire.go", Is: "if p.keepAll {", Bug: "if false {", Test: "TestNoteOfErasureStays"},
		"condemned packs need no note":           {File: "retire.go", Is: "needed = needed || do.listed(history.PackKey(id))", Bug: "_ = do", Test: "TestNoteOfCondemnedPackStays"},
		"the list may be a minute old":           {File: "retire.go", Is: "&& t.removable &&", Bug: "&&", Test: "TestRecentListRemovesNothing"},
		"a removal is sent at any time":          {File: "retire.go", Is: "p.opt.Lock.Now().After(t.until) ||", Bug: "", Test: "TestSlowListRemovesNothing"},
		"stuck removals go on":                   {File: "retire.go", Is: "stuck == mostStuckNotes", Bug: "stuck == 1000", Test: "TestStuckNotes"},
		"a note of the future changes":           {File: "retire.go", Is: "&& !at.After(now.Add(noteSlack))", Bug: "&& (true || now.IsZero())", Test: "TestNoteOfWrongClock"},
		"a list fails the collection":            {File: "retire.go", Is: "return p.noneRetired(ctx, err)", Bug: "return err", Test: "TestListDenied"},
		"removals are never forgotten":           {File: "retire.go", Is: "if n.Removed.Add(removedKept).Before(t.began) {", Bug: "if false {", Test: "TestRemovalEndsAfterYears"},
		"a list has no end":                      {File: "retire_list.go", Is: "if t.room <= 0 {", Bug: "if false {", Test: "TestFullList"},
		"one answer decides that a note is gone": {File: "naming.go", Is: "return errNoteGone", Bug: "return nil", Test: "TestNoteIsGoneInTheCount"},
		"a removal that is shown blocks":         {File: "naming.go", Is: "if !c.retired[p] {", Bug: "if true {", Test: "TestNoteIsGoneInTheCount"},
	})
}
