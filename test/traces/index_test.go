package traces_test

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"sync"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

// kinds names the keys of the index (table in package index), except the numbers of packs.
var kinds = map[byte]string{
	'v': "version", 'p': "repository", 'P': "probe", 'n': "next backup", 'B': "backup", 'm': "mailbox", 'q': "order",
	'N': "name", 'r': "record", 'g': "message", 'i': "item", 'c': "inline chunk", 's': "next order", 'x': "asked",
	'o': "owed", 'U': "uniqueid", 'G': "shared message", 'C': "chunk", 'L': "lost", 'l': "losses",
}

// indexTrace adds the transactions of an index to a trace.
type indexTrace struct {
	tr *trace

	mu    sync.Mutex
	index *index.Index
	held  map[string][]byte
	fail  error // injected into the next transaction
}

// failNext makes the next transaction fail with err.
func (x *indexTrace) failNext(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fail = err
}

// onCommit is index.Options.OnCommit.
func (x *indexTrace) onCommit(commit func() error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.fail; err != nil {
		x.fail = nil
		x.tr.add("    index  ! %v", err)
		return err
	}
	if err := commit(); err != nil {
		return err
	}
	now, err := contents(x.index)
	if err != nil {
		return fmt.Errorf("read the index for the trace: %w", err)
	}
	if words := changes(x.held, now); words != "" { // many transactions change nothing
		x.tr.add("    index  %s", words)
	}
	x.held = now
	return nil
}

func contents(x *index.Index) (map[string][]byte, error) {
	all := map[string][]byte{}
	err := x.View(func(t *index.Txn) error {
		for e, err := range t.Scan(nil, nil) {
			if err != nil {
				return err
			}
			if e.Key[0] == 'r' {
				if err := eachRecord(all, e); err != nil {
					return err
				}
			} else if kinds[e.Key[0]] != "" {
				all[string(e.Key)] = e.Value
			}
		}
		return nil
	})
	return all, err
}

// eachRecord adds the records of a block one by one: how many share a key is no effect.
func eachRecord(all map[string][]byte, e index.Entry) error {
	var b indexvalue.Block
	if err := indexvalue.ParseBlock(e.Value, 0, &b); err != nil {
		return err
	}
	for i, r := range b.Records {
		if r != nil {
			all[fmt.Sprintf("%s %d", e.Key, i)] = indexvalue.AppendRecord(nil, r)
		}
	}
	return nil
}

// changes lists the kinds of keys that were added, changed, and removed.
func changes(before, after map[string][]byte) string {
	count := map[string]int{}
	for k, v := range after {
		if old, there := before[k]; !there {
			count["+"+kinds[k[0]]]++
		} else if !bytes.Equal(old, v) {
			count[kinds[k[0]]]++
		}
	}
	for k := range before {
		if _, there := after[k]; !there {
			count["-"+kinds[k[0]]]++
		}
	}
	var words []string
	for w, n := range count {
		if n > 1 {
			w = fmt.Sprintf("%s (%d×)", w, n)
		}
		words = append(words, w)
	}
	sort.Strings(words)
	return strings.Join(words, ", ")
}
