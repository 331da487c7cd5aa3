package erasure_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/test/soak/planted"
)

// The tests find each planted bug.
func TestPlantedBugs(t *testing.T) {
	const event, again, sweep = "../maintenance/messages_event.go", "../maintenance/messages_again.go", "history_sweep.go"
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
		"an event is put twice":                {File: event, Is: "m.Erasure != \"\" && e.Erasure == m.Erasure", Bug: "e.Erasure == m.Erasure+\"x\"", Test: "TestMessagesEventNotRecorded"},
		"an earlier event counts as the own":   {File: event, Is: " && e.Erasure == m.Erasure", Bug: "", Test: "TestMessagesErasedTwice"},
		"the record decides about the log":     {File: event, Is: "	if !shown {\n		return 0, at, nil", Bug: "	if false {\n		return 0, at, nil", Test: "TestMessagesLogRestored"},
		"the record decides after retention":   {File: event, Is: "is.Commit <= m.Commit && is.Erased.IsZero()", Bug: "is.Commit > 1<<60", Test: "TestMessagesLogRestored"},
		"no erased message proves the event":   {File: event, Is: "if !st.HasErased() {", Bug: "if false {", Test: "TestMessagesLogRestoredPruned"},
		"the time of another event stays":      {File: event, Is: " && at.Equal(r.messages.At)", Bug: "", Test: "TestMessagesEventAtAnotherTime"},
		"a lost event stays on record":         {File: "messages.go", Is: "j.r.Commit, j.r.Erased = commit, at.UTC()", Bug: "j.r.Commit, j.r.Erased = max(j.r.Commit, commit), at.UTC()", Test: "TestMessagesEventAfterRestore"},
		"mail that came again is left":         {File: again, Is: "is.arrived > is.erased && !is.live", Bug: "is.arrived > 1<<60 && !is.live", Test: "TestMessagesEraseAgain"},
		"a failed record is continued":         {File: "history.go", Is: "return eventLost(ctx, e, f, o)", Bug: "return !e.Failed.IsZero(), nil", Test: "TestMessagesEraseAgain"},
		"a message stays whole on record":      {File: sweep, Is: "s.r.surveyed(o.Messages)", Bug: "_ = o.Messages", Test: "TestMessagesSharedUntilRetention"},
		"live mail counts as erased":           {File: "../verify/bodies.go", Is: "if !at.live {", Bug: "if at != nil {", Test: "TestMessagesLiveWithoutBody"},
		"another version is overwritten":       {File: redact, Is: "if !errors.Is(err, errOtherVersion) {", Bug: "if true {", Test: "TestMessagesOtherVersion"},
		"packs of a late segment are missed":   {File: redact, Is: "r.cutBegun, changed = false, true", Bug: "changed = true", Test: "TestMessagesLateSegmentWithin"},
		"a piece is left for ever":             {File: "../maintenance/messages_find.go", Is: "m.Left = m.Left || at[c].there && !shared[c]", Bug: "m.Left = false", Test: "TestMessagesPieceLeft"},
		"a live message goes":                  {File: run, Is: "if in := live[m.GUID]; len(in) > 0 {", Bug: "if in := live[m.GUID]; len(in) > 9 {", Test: "TestMessagesRefused"},
		"a sweep does not look again":          {File: "../maintenance/forget_sweep.go", Is: "return r.redactAgain(ctx, out)", Bug: "return false, nil", Test: "TestMessagesLateObjects"},
	})
}
