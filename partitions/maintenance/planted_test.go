package maintenance_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/test/soak/planted"
)

// The tests find each planted bug.
func TestPlantedBugs(t *testing.T) {
	planted.Find(t, map[string]planted.Bug{
		"the log is removed before its checkpoints are durable": {File: "retain.go", Is: "if err := r.fold(ctx); err != nil {",
			Bug: "if err := errors.Join(r.remove(ctx), r.fold(ctx)); err != nil {", Test: "TestRetain"},
		"the removal is not recorded": {File: "retain.go", Is: "recorded, err := r.record(ctx)", Bug: "recorded, err := true, error(nil)", Test: "TestRetain"},
		"commits are removed before their segment is durable": {File: "merge_put.go", Is: "	if !u.exists {\n",
			Bug: "	if err := m.remove(ctx, u); err != nil {\n		return err\n	}\n	if !u.exists {\n", Test: "TestMergeFaults"},
		"commits are removed although another backup is there": {File: "merge_put.go", Is: "if err := sameBackup(ctx, u.job.Found); err != nil {", Bug: "if err := error(nil); err != nil {", Test: "TestMergeReplaced"},
		"the segment is not read back":                         {File: "merge_put.go", Is: "if err := m.prove(ctx, u); err != nil {", Bug: "if err := error(nil); err != nil {", Test: "TestMergeProves"},
		"young commits are removed":                            {File: "retain_survey.go", Is: "r.have.cuts(r.now.Add(-r.o.LogMinAge))", Bug: "r.have.cuts(r.now)", Test: "TestYoungObjectsStay"},
		"the last deletion is left":                            {File: "retain_survey.go", Is: "if !prunes {", Bug: "if true || !prunes {", Test: "TestNothingIsLeftAfterTheEnd"},
		"former blocks are left":                               {File: "retain.go", Is: "return r.sweep(ctx)", Bug: "return nil", Test: "TestNothingIsLeftAfterTheEnd"},
	})
}
