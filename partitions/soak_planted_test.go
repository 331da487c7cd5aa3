package partitions_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/test/soak/planted"
)

// The soak test finds bugs in the nights of compact.
func TestSoakFindsPlantedBugs(t *testing.T) {
	args := []string{"-soak.seed=1", "-soak.steps=40000", "-soak.only=night,release,restore begins"}
	planted.Find(t, map[string]planted.Bug{
		"a pack counts as unused": {File: "collection/packs.go", Is: "case used:", Bug: "case used && false:", Test: "TestSoak", Args: args},
		"the log is removed before its checkpoints are durable": {File: "maintenance/retain.go", Is: "if err := r.fold(ctx); err != nil {",
			Bug: "if err := errors.Join(r.remove(ctx), r.fold(ctx)); err != nil {", Test: "TestSoak", Args: args},
		"commits are removed before their segment is durable": {File: "maintenance/merge_put.go", Is: "	if !u.exists {\n",
			Bug: "	if err := m.remove(ctx, u); err != nil {\n		return err\n	}\n	if !u.exists {\n", Test: "TestSoak", Args: args},
		"the list of condemned packs is not read": {File: "partition.go", Is: "c.read.store = info.StoreTime",
			Bug: "c.read.store, c.list = info.StoreTime, new(history.Condemned)", Test: "TestSoak", Args: args},
		"a pack that was rewritten is not followed": {File: "history/body.go", Is: "if _, packed := MovedKey(now.Object); inLog && packed &&",
			Bug: "if _, packed := MovedKey(now.Object); false && packed &&", Test: "TestSoak", Args: args},
	})
}
