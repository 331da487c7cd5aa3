package collection_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/test/soak/planted"
)

// The tests find each planted bug.
func TestPlantedBugs(t *testing.T) {
	seeds := []string{"-model.seeds=12"}
	planted.Find(t, map[string]planted.Bug{
		"no second count":                         {File: "packs.go", Is: "case used:", Bug: "case used && !condemned:", Test: "TestCondemnedPackThatIsUsed"},
		"no day of grace":                         {File: "packs.go", Is: "at.Add(age(erased)).Before(s.began) && !at.IsZero()", Bug: "!at.Add(age(erased)).IsZero()", Test: "TestUnusedPackIsRemoved"},
		"removed packs leave the list at once":    {File: "remove.go", Is: "gone[key] = info.Modified.Add(removedAge).Before(p.began)", Bug: "gone[key] = !info.Modified.IsZero()", Test: "TestRemovedPackStaysListed"},
		"the clock may be wrong":                  {File: "../storeclock/certain.go", Is: "!near(info.StoreTime, host, Bound)", Bug: "false", Test: "TestDoubtfulClock"},
		"condemned although young":                {File: "packs.go", Is: "info.Modified.Add(orphanAge).Before(s.began)", Bug: "true", Test: "TestYoungPackIsKept"},
		"the list is not read by the writer":      {File: "model_test.go", Is: "if m.condemned(w.pack) || !m.has(w.pack) {", Bug: "if !m.has(w.pack) {", Test: "TestModel", Args: seeds},
		"a late writer is not caught":             {File: "model_test.go", Is: "if w.copies || m.now.Sub(w.checked) <= hour {", Bug: "if true {", Test: "TestModel", Args: seeds},
		"uses of an older object":                 {File: "uses.go", Is: "|| !u.next.same(versionOf(o.Info)) {", Bug: "{", Test: "TestBucketWentBack"},
		"cache without ETags":                     {File: "keys.go", Is: `o.rel, v.ETag, v.Size`, Bug: `o.rel, "", v.Size`, Test: "TestBucketWentBack"},
		"another version counts as read":          {File: "backup.go", Is: "|| !u.same(versionOf(o.Info)) {", Bug: "{", Test: "TestSeen"},
		"later commits are not added to the uses": {File: "backup.go", Is: "r.fresh++\n", Bug: "r.fresh++\n\t\tif r.old != nil && o.kind == kindLog {\n\t\t\treturn nil\n\t\t}\n", Test: "TestModel", Args: seeds},
		"a rewrite follows no notes":              {File: "naming.go", Is: "len(c.notes) > 0 && !from.empty()", Bug: "false", Test: "TestRewrite"},
		"log and checkpoint add up":               {File: "usage.go", Is: "max(n.sum[inLog], n.sum[inState], n.most[inOthers])", Bug: "n.sum[inLog] + n.sum[inState] + n.sum[inOthers]", Test: "TestSparseEstimate"},
		"removed in the same night":               {File: "rewrite.go", Is: "note.Modified.Add(droppedAge).Before(p.began)", Bug: "!note.Modified.IsZero()", Test: "TestRewrite"},
		"the second count is left out":            {File: "rewrite.go", Is: "if at.Object == \"\" || at.Object == info.Key {\n\t\t\treturn false, nil", Bug: "if at.Object == \"\" {\n\t\t\tcontinue", Test: "TestNamedInTheNight"},
		"an old note counts as a rewrite":         {File: "rewrite.go", Is: "&& note.Modified.After(do.since[info.Key]):", Bug: ":", Test: "TestOldNoteIsNoRewrite"},
		"a new pack may have moved":               {File: "rewrite.go", Is: "if strings.HasPrefix(key, movedPrefix) {", Bug: "if false {", Test: "TestNewPackHasMoved"},
		"a new pack may be condemned":             {File: "rewrite.go", Is: "if r.do.listed(at.Object) {", Bug: "if false {", Test: "TestNewPackIsErasedInTheNight"},
		"older notes lose the dropped entries":    {File: "rewrite.go", Is: "_, err = r.remove(ctx, info, m.Entries)", Bug: "maps.DeleteFunc(m.Entries, func(e, _ string) bool { return need[e] == history.ChunkID{} })\n\t_, err = r.remove(ctx, info, m.Entries)", Test: "TestDroppedBeforeRemoval"},
		"notes are not read back":                 {File: "notes.go", Is: "last != nil && !mayRepeat(last) {", Bug: "!mayRepeat(last) {", Test: "TestStoreForgets"},
		"more is condemned than can be rewritten": {File: "sparse.go", Is: "c.info.Size > s.left ||", Bug: "", Test: "TestSparseLimit"},
		"packs that wait do not count":            {File: "packs.go", Is: "s.sparse.left -= info.Size", Bug: "_ = s", Test: "TestSparseLimit"},
		"a pass rewrites without a limit":         {File: "rewrite.go", Is: "if left <= 0 {", Bug: "if false {", Test: "TestRewriteLimit"},
		"condemned although young and used":       {File: "packs.go", Is: "if !condemned && old && !kept {", Bug: "if !condemned && !kept {", Test: "TestSparsePack"},
		"the gain does not count":                 {File: "sparse.go", Is: "c.rank >= s.opt.RewriteGain {", Bug: "c.rank >= 0 {", Test: "TestSparsePack"},
		"half of a pack is enough":                {File: "sparse.go", Is: "c.named*5 < c.total*2 {", Bug: "c.named < c.total {", Test: "TestSparseEstimate"},
		"the list may be lost with sparse packs":  {File: "collect.go", Is: "p.last.Condemned.Packs+p.last.Sparse.Packs", Bug: "p.last.Condemned.Packs", Test: "TestSparsePack"},
		"small packs in the log are merged":       {File: "small.go", Is: "u.logged || info.Size", Bug: "info.Size", Test: "TestSmallPacksStay"},
		"small packs of copies are merged":        {File: "count.go", Is: "if p.logged || aside {", Bug: "if p.logged {\n\t\t\t\t_ = aside", Test: "TestSmallPacksStay"},
		"packs of all sizes are merged":           {File: "small.go", Is: "s[(bits.Len64(uint64(info.Size))-1)/2]", Bug: "s[bits.Len64(0)]", Test: "TestSmallPacksStay"},
		"large packs are merged":                  {File: "small.go", Is: "|| info.Size > packSize/smallPart {", Bug: "{\n\t\t_ = packSize", Test: "TestSmallPacksLimits"},
		"a merge has no limit of bytes":           {File: "small.go", Is: "if info.Size <= left &&", Bug: "if", Test: "TestSmallPacksLimits"},
		"a merge has no limit of packs":           {File: "small.go", Is: "if len(*class) < mergedAtMost {", Bug: "if true {", Test: "TestSmallPacksLimits"},
		"packs are merged every night":            {File: "small.go", Is: "!p.began.Before(p.last.Merged.Add(mergedAfter))", Bug: "true", Test: "TestSmallPacksOnceAWeek"},
		"packs that share names are merged":       {File: "small.go", Is: "return !p.private && (", Bug: "return (", Test: "TestSmallPacksOfBackupsThatShareNothing"},
		"damaged packs are merged":                {File: "small.go", Is: "return ok && err == nil, nil", Bug: "return true, nil", Test: "TestSmallPackDamaged"},
		"the cache forgets the log":               {File: "cache.go", Is: "n |= cachedLogged", Bug: "n |= 0", Test: "TestSmallPacksStay"},
		"new packs are not proved":                {File: "rewrite.go", Is: "if err := history.CheckChunk(ctx, r.objects, at); err != nil {", Bug: "if err := history.CheckChunk(ctx, r.objects, at); false {", Test: "TestNewPackIsProvedAgain"},
		"older notes stay":                        {File: "remove.go", Is: "for _, about := range older {", Bug: "for _, about := range older[:0] {", Test: "TestModel", Args: seeds},
		"removed before the note":                 {File: "remove.go", Is: "if err := p.noteRemoved(ctx, key, now); err != nil {", Bug: "if err := p.store.Delete(ctx, key); err != nil {", Test: "TestReaderBesideRewrite"},
		"uses instead of the second count":        {File: "naming.go", Is: "if !ok || !r.wanted[n.pack()] {", Bug: "if !ok || !r.wanted[n.pack()] || o.kind == kindBlocks {", Test: "TestModel", Args: seeds},
		"noted entries are dropped":               {File: "notes.go", Is: "m.Unused = &unused", Bug: "m.Unused = &unused\n\t\tif !put {\n\t\t\tclear(m.Entries)\n\t\t}", Test: "TestRewriteKeepsNotedEntries"},
		"an unreadable pack is rewritten":         {File: "rewrite.go", Is: "if found != len(need) {", Bug: "if false {", Test: "TestDamagedPackIsKept"},
		"a rewrite does not compare hashes":       {File: "rewrite.go", Is: "err == nil && history.ChunkID(sha256.Sum256(b)) != chunk", Bug: "history.ChunkID(sha256.Sum256(b)) != chunk && false", Test: "TestDamagedPackIsKept"},
		"notes are not followed":                  {File: "count.go", Is: "err = errors.Join(c.moved.add(u), led.add(u))", Bug: "_ = u", Test: "TestSetAsideAndMoved"},
		"set-aside is not counted":                {File: "count.go", Is: "[]string{backupPrefix, asidePrefix}", Bug: "[]string{backupPrefix}", Test: "TestSetAsideAndMoved"},
		"an incomplete log is accepted":           {File: "backup.go", Is: "if r.missing > r.checkpoint {", Bug: "if false {", Test: "TestUnreadableBlocks"},
		"checkpoints do not count":                {File: "backup.go", Is: "\terr := r.use(ctx, o, history.ObjectPlaces)", Bug: "\tif named {\n\t\treturn nil\n\t}\n\terr := r.use(ctx, o, history.ObjectPlaces)", Test: "TestModel", Args: seeds},
		"blocks may be missing":                   {File: "backup.go", Is: "for _, b := range u.Blocks {", Bug: "for _, b := range u.Blocks[:0] {", Test: "TestUnreadableBlocks"},

		"a new user hides a missing one":        {File: "sightings.go", Is: "if !g.first.After(p.at) || p.remade[g.prefix] {", Bug: "if true {", Test: "TestMissingSinceLastPass"},
		"an erasure of messages is missed":      {File: "sightings.go", Is: " || p.remade[g.prefix] {", Bug: " {", Test: "TestErasedMessagesAreNotMissing"},
		"an older copy replaces a missing one":  {File: "sightings.go", Is: "|| !known[a.prefix()])", Bug: "|| true)", Test: "TestSetAsideBetweenCounts"},
		"the newest commit may be missing":      {File: "sightings.go", Is: "a.newest() >= b.newest() &&", Bug: "", Test: "TestMissingInSecondCount"},
		"a copy counts twice":                   {File: "result.go", Is: "t.Aside - t.Twice", Bug: "t.Aside", Test: "TestSetAsideDuringCount"},
		"a copy hides a missing backup":         {File: "collect.go", Is: "c.before.aside -= recent", Bug: "_ = recent", Test: "TestMissingBesideSetAside"},
		"leases are a backup":                   {File: "count.go", Is: "if o.first.IsZero() {", Bug: "if false {", Test: "TestInterruptedSetAside"},
		"a copy that is counted twice is known": {File: "sightings.go", Is: "!isTwice(b, before)", Bug: "true", Test: "TestSetAsideBetweenCounts"},
		"bodies of a removed moment go at once": {File: "backup.go", Is: "\terr := r.use(ctx, o, history.ObjectPlaces)", Bug: "\tif !named {\n\t\treturn nil\n\t}\n\terr := r.use(ctx, o, history.ObjectPlaces)", Test: "TestReaderOfRemovedMoment"},
		"the second count believes the uses":    {File: "backup.go", Is: "\tif r.named != nil {\n\t\tu = nil", Bug: "\tif false {\n\t\tu = nil", Test: "TestSecondCountBelievesNoUses"},
		"one misread decides":                   {File: "backup.go", Is: "if isDamaged(err) { // one answer", Bug: "if false { // one answer", Test: "TestCommitIsReadTwice"},
	})
}
