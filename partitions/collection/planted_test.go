package collection_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// planted are bugs: a text in a source file, and what replaces it.
var planted = map[string]struct{ file, is, bug, test string }{
	"no second count":                      {"packs.go", "case more && u == id:", "case more && u == id && !condemned:", "TestCondemnedPackThatIsUsed"},
	"no day of grace":                      {"packs.go", "due := condemned && removable && at.Add(condemnedAge).Before(p.began) && !at.IsZero()", "due := condemned && (removable || !at.IsZero())", "TestUnusedPackIsRemoved"},
	"removed packs leave the list at once": {"remove.go", "gone[key] = info.Modified.Add(removedAge).Before(p.began)", "gone[key] = !info.Modified.IsZero()", "TestRemovedPackStaysListed"},
	"the clock may be wrong":               {"clock.go", "info.StoreTime.Sub(host).Abs() > storeclock.Bound", "false", "TestDoubtfulClock"},
	"condemned although young":             {"packs.go", "!info.Modified.Add(orphanAge).Before(p.began)", "false", "TestYoungPackIsKept"},
	"the list is not read by the writer": {"model_test.go", "if m.condemned(w.pack) || !m.has(w.pack) {",
		"if !m.has(w.pack) {", "TestModel"},
	"a late writer is not caught": {"model_test.go", "if w.copies || m.now.Sub(w.checked) <= hour {", "if true {", "TestModel"},
	"uses of an older object":     {"uses.go", "|| !u.next.same(versionOf(o.Info)) {", "{", "TestBucketWentBack"},
	"cache without ETags":         {"keys.go", `o.rel, v.ETag, v.Size`, `o.rel, "", v.Size`, "TestBucketWentBack"},
	"later commits are not added to the uses": {"backup.go", "r.read++\n\t\tif u, err = read(ctx, o); err != nil {",
		"r.read++\n\t\tif r.old != nil && o.kind == kindLog {\n\t\t\treturn nil\n\t\t}\n\t\tif u, err = read(ctx, o); err != nil {", "TestModel"},
	"a rewrite follows no notes":        {"naming.go", "len(c.notes) > 0 && !from.empty()", "false", "TestRewrite"},
	"older notes stay":                  {"remove.go", "for _, about := range older {", "for _, about := range older[:0] {", "TestModel"},
	"removed before the note":           {"remove.go", "if err := p.noteRemoved(ctx, key, now); err != nil {", "if err := p.store.Delete(ctx, key); err != nil {", "TestReaderBesideRewrite"},
	"uses instead of the second count":  {"naming.go", "if !ok || !r.wanted[n.pack()] {", "if !ok || !r.wanted[n.pack()] || o.kind == kindBlocks {", "TestModel"},
	"noted entries are dropped":         {"notes.go", "m.Unused = true", "m.Unused = true\n\t\tif !put {\n\t\t\tclear(m.Entries)\n\t\t}", "TestRewriteKeepsNotedEntries"},
	"an unreadable pack is rewritten":   {"rewrite.go", "if found != len(need) {", "if false {", "TestDamagedPackIsKept"},
	"a rewrite does not compare hashes": {"rewrite.go", "err == nil && history.ChunkID(sha256.Sum256(b)) != chunk", "history.ChunkID(sha256.Sum256(b)) != chunk && false", "TestDamagedPackIsKept"},
	"notes are not followed":            {"count.go", "err = errors.Join(c.moved.add(p), led.add(p))", "_ = p", "TestSetAsideAndMoved"},
	"set-aside is not counted":          {"count.go", "[]string{backupPrefix, asidePrefix}", "[]string{backupPrefix}", "TestSetAsideAndMoved"},
	"an incomplete log is accepted":     {"backup.go", "if r.missing > r.checkpoint {", "if false {", "TestUnreadableBlocks"},
	"old checkpoints do not count":      {"backup.go", "for _, b := range u.Blocks {", "for _, b := range u.Blocks[:0] {", "TestModel"},
}

// The tests find each planted bug. make soak-proof runs this test, which takes minutes.
func TestPlantedBugs(t *testing.T) {
	if os.Getenv("SOAK_PROOF") == "" {
		t.Skip("SOAK_PROOF is not set: see make soak-proof")
	}
	for name, b := range planted {
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(b.file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(source), b.is) != 1 {
				t.Fatalf("%s does not have %q once", b.file, b.is)
			}
			dir := t.TempDir()
			changed := filepath.Join(dir, filepath.Base(b.file))
			if err := os.WriteFile(changed, []byte(strings.Replace(string(source), b.is, b.bug, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			is, err := filepath.Abs(b.file)
			if err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]map[string]string{"Replace": {is: changed}})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(file, overlay, 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-short", "-overlay="+file, "-run", "^"+b.test+"$", ".", "-model.seeds=12").CombinedOutput()
			if err == nil {
				t.Fatalf("%s passes:\n%s", b.test, out)
			}
			if !strings.Contains(string(out), "--- FAIL: "+b.test) {
				t.Fatalf("%s does not run:\n%s", b.test, out)
			}
		})
	}
}
