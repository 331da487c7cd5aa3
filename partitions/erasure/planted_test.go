package erasure_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/test/soak/planted"
)

// The tests find each planted bug.
func TestPlantedBugs(t *testing.T) {
	const run, survey, redact = "../maintenance/messages.go", "../maintenance/messages_survey.go", "../maintenance/messages_redact.go"
	planted.Find(t, map[string]planted.Bug{
		"checkpoints keep the places":          {File: redact, Is: "for _, c := range found.checkpoints {", Bug: "for _, c := range found.checkpoints[:0] {", Test: "TestEraseMessages"},
		"segments keep the places":             {File: redact, Is: "for _, o := range found.segments {", Bug: "for _, o := range found.segments[:0] {", Test: "TestMessagesLateSegment"},
		"a late large commit stays":            {File: "../maintenance/merge_read.go", Is: "|| c.in.to > 0 ", Bug: "", Test: "TestMessagesInLargeCommit"},
		"a piece of two erased messages stays": {File: survey, Is: "f.cuts = slices.DeleteFunc(f.cuts, at.erased)", Bug: "f.cuts = slices.Clone(f.cuts)", Test: "TestMessagesShareChunksOfErased"},
		"a common piece goes":                  {File: survey, Is: "delete(of, c)", Bug: "_ = c", Test: "TestMessagesShareChunks"},
		"a message goes that arrived again":    {File: redact, Is: "if stay[p.Chunk] {", Bug: "if stay == nil {", Test: "TestMessagesArriveAgain"},
		"mail goes that arrived meanwhile":     {File: survey, Is: "if m.Tip().Number <= r.messages.Commit {", Bug: "if m.Tip().Number > 0 {", Test: "TestMessagesArriveWithin"},
		"the survey before the event counts":   {File: run, Is: "return r.surveyMessages(ctx)", Bug: "return nil", Test: "TestMessagesArriveWithin"},
		"an event is put twice":                {File: survey, Is: "e.Erasure == r.messages.Erasure && seen.own.Number == 0", Bug: "e.Erasure == r.messages.Erasure+\"x\"", Test: "TestMessagesEventNotRecorded"},
		"an earlier event counts as the own":   {File: survey, Is: " && e.Erasure == r.messages.Erasure", Bug: "", Test: "TestMessagesErasedTwice"},
		"the record decides about the log":     {File: survey, Is: "case own.Number == n, n > 0 && n < r.have.log[0].from:", Bug: "case own.Number == n, n > 0:", Test: "TestMessagesLogRestored"},
		"another version is overwritten":       {File: redact, Is: "if !errors.Is(err, errOtherVersion) {", Bug: "if true {", Test: "TestMessagesOtherVersion"},
		"packs of a late segment are missed":   {File: redact, Is: "r.cutBegun, changed = false, true", Bug: "changed = true", Test: "TestMessagesLateSegmentWithin"},
		"a piece is left for ever":             {File: "../maintenance/messages_find.go", Is: "m.Left = m.Left || at[c].there && !shared[c]", Bug: "m.Left = false", Test: "TestMessagesPieceLeft"},
		"a live message goes":                  {File: run, Is: "if in := live[m.GUID]; len(in) > 0 {", Bug: "if in := live[m.GUID]; len(in) > 9 {", Test: "TestMessagesRefused"},
		"a sweep does not look again":          {File: "../maintenance/forget_sweep.go", Is: "return r.redactAgain(ctx, out)", Bug: "return false, nil", Test: "TestMessagesLateObjects"},
	})
}
