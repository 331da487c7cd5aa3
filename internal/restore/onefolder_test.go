package restore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

// The records of other folders are not read.
func TestOneFolderReadsItsOwnRecords(t *testing.T) {
	t.Parallel()
	const records, keyword = 3000, 400 // bytes that hardly compress
	b, random := restoretest.New(t, "anne"), rand.New(rand.NewPCG(1, 2))
	large, small := b.Box("user.anne.Large"), b.Box("user.anne.Small")
	for i := range records {
		word := make([]byte, keyword)
		for i := range word {
			word[i] = byte('a' + random.IntN(26))
		}
		large.Deliver(restoretest.Mail(fmt.Sprint(i%10)), 1600000000, string(word))
	}
	for i := range 10 {
		small.Deliver(restoretest.Mail(fmt.Sprint(i)), 1600000000)
	}
	b.Sync()
	b.Checkpoint()
	read := func(folder string, messages int) int64 {
		src, count := b.Counted()
		sel, err := src.Select(restore.Options{Objects: []string{folder}})
		if err != nil || len(sel.Folders) != 1 || len(sel.Folders[0].Messages) != messages {
			t.Fatalf("%s: %+v, %v", folder, sel, err)
		}
		n := 0
		for l := range src.LoadAll(t.Context(), guids(t, src, sel.Folders[0])) {
			if n++; l.Err != nil || l.Body.Close() != nil {
				t.Fatal(l.Err)
			}
		}
		if n != messages {
			t.Fatalf("%s: %d messages, want %d", folder, n, messages)
		}
		return count.Snapshot()["get"].Bytes
	}
	const least = records * keyword / 2
	if n := read("user.anne.Large", records); n < least {
		t.Errorf("%d bytes read for the large folder, want at least %d: its records", n, least)
	}
	if n := read("user.anne.Small", 10); n > least/2 {
		t.Errorf("%d bytes read for the small folder, want at most %d: others have %d", n, least/2, least)
	}
}
