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
		"young commits are removed":                            {File: "retain_survey.go", Is: "r.have.cuts(r.now.Add(-r.o.LogMinAge), r.forget)", Bug: "r.have.cuts(r.now, r.forget)", Test: "TestYoungObjectsStay"},
		"the last deletion is left":                            {File: "retain_survey.go", Is: "if !prunes {", Bug: "if true || !prunes {", Test: "TestNothingIsLeftAfterTheEnd"},
		"the former blocks go with the places":                 {File: "retain_remove.go", Is: "if r.have.replaced(r.now) {", Bug: "if false {", Test: "TestRelocateBeforeRetention"},
		"the blocks of a replaced checkpoint go at once":       {File: "retain_fold.go", Is: "p.need(object) // somebody may be reading this version", Bug: "_ = object", Test: "TestYears"},
		"a pack is left whose copies are not proven":           {File: "relocate_moved.go", Is: "if errors.Is(err, objstore.ErrNotExist) {\n\t\tread,", Bug: "if err = nil; err == nil {\n\t\tread,", Test: "TestRelocateNot"},
		"a place leads to a condemned pack":                    {File: "relocate_moved.go", Is: "if m.condemned.Has(key) {\n		return false", Bug: "if false {\n		return false", Test: "TestRelocateNot"},
		"blocks with former places stay needed":                {File: "relocate.go", Is: "return err == nil, err", Bug: "return false, err", Test: "TestRelocate"},
		"an erasure does not prove the newest state":           {File: "forget_scrub.go", Is: `return doomed, diff != "", err`, Bug: "return doomed, false, err", Test: "TestForgetBesideWriter"},
		"an erasure leaves later checkpoints":                  {File: "forget_scrub.go", Is: "for _, n := range doomed {", Bug: "for _, n := range doomed[:0] {", Test: "TestForget"},
		"an erasure leaves objects with old places":            {File: "forget.go", Is: "_, err = r.rehouse(ctx)", Bug: "err = error(nil)", Test: "TestForgetRecordBesideNeeded"},
		"an erasure removes blocks at once":                    {File: "retain_remove.go", Is: "if r.forget {", Bug: "if false {", Test: "TestForget"},
		"a late checkpoint is left":                            {File: "forget_sweep.go", Is: "return r.scrub(ctx)", Bug: "return false, nil", Test: "TestSweepLateCheckpoint"},
		"young blocks are swept":                               {File: "forget_sweep.go", Is: "if put.IsZero() || put.After(r.now.Add(-grace)) {", Bug: "if false {", Test: "TestSweepLeavesYoungBlocks"},
		"former blocks are left":                               {File: "retain.go", Is: "return r.sweep(ctx)", Bug: "return nil", Test: "TestNothingIsLeftAfterTheEnd"},
	})
}
