package erasure_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/test/soak/planted"
)

// The tests find each planted bug.
func TestPlantedBugs(t *testing.T) {
	const survey, redact = "../maintenance/messages_survey.go", "../maintenance/messages_redact.go"
	planted.Find(t, map[string]planted.Bug{
		"checkpoints keep the places":          {File: redact, Is: "did, err := r.redactCheckpoint(ctx, c.number, seen)", Bug: "did, err := seen == nil, error(nil)", Test: "TestEraseMessages"},
		"segments keep the places":             {File: redact, Is: "did, err := r.redactSegment(ctx, o)", Bug: "did, err := false, error(nil)", Test: "TestMessagesLateSegment"},
		"a late large commit stays":            {File: "../maintenance/merge_read.go", Is: "&& c.in.to == 0 ", Bug: "", Test: "TestMessagesInLargeCommit"},
		"a piece of two erased messages stays": {File: survey, Is: "return others, later, r.dropErased(ctx, others)", Bug: "return others, later, nil", Test: "TestMessagesShareChunksOfErased"},
		"a common piece goes":                  {File: survey, Is: "delete(of, c)", Bug: "_ = c", Test: "TestMessagesShareChunks"},
		"a message goes that arrived again":    {File: redact, Is: "if stay[p.Chunk] {", Bug: "if stay == nil {", Test: "TestMessagesArriveAgain"},
		"a live message goes":                  {File: "../maintenance/messages.go", Is: "if in := live[m.GUID]; len(in) > 0 {", Bug: "if in := live[m.GUID]; len(in) > 9 {", Test: "TestMessagesRefused"},
		"a sweep does not look again":          {File: "../maintenance/forget_sweep.go", Is: "return r.redactAgain(ctx, out)", Bug: "return false, nil", Test: "TestMessagesLateObjects"},
	})
}
