package partitions_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Searches for bytes that must have disappeared. Each version of an object is decompressed and searched
// once: a world is searched often, and few objects change meanwhile.

// searched is what a version of an object contains.
type searched struct {
	etag    string
	needles []string        // GUIDs of messages and uniqueids of mailboxes, each once
	packs   map[string]bool // that the places in it name
}

// search returns what each compressed object of a partition contains. Damaged ones contain nothing.
func (w *soak) search(p *soakPart) (map[string]*searched, error) {
	found := map[string]*searched{}
	for info, err := range p.store.List(w.t.Context(), "", "") {
		if err != nil {
			return nil, err
		}
		if !strings.HasSuffix(info.Key, ".zst") {
			continue
		}
		s := p.searched[info.Key]
		if s == nil || s.etag != info.ETag {
			if s, err = w.searchObject(p, info); err != nil {
				return nil, err
			}
		}
		found[info.Key] = s
	}
	p.searched = found
	return found, nil
}

func (w *soak) searchObject(p *soakPart, info objstore.Info) (*searched, error) {
	if w.unzip == nil {
		var err error
		if w.unzip, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true)); err != nil {
			return nil, err
		}
	}
	s := &searched{etag: info.ETag, packs: map[string]bool{}}
	if plain, err := w.unzip.DecodeAll(p.store.Bytes(info.Key), nil); err == nil {
		s.needles = needles(plain)
	}
	if strings.HasPrefix(info.Key, "backups/") && (strings.Contains(info.Key, "/log/") || strings.Contains(info.Key, "/records/")) {
		for at, err := range history.ObjectPlaces(w.t.Context(), p.store, info.Key) {
			if err == nil && strings.HasPrefix(at.Object, "packs/") {
				s.packs[at.Object] = true
			}
		}
	}
	return s, nil
}

const (
	guidDigits    = 40
	uniqueidStart = "unique"
	uniqueidBytes = len(uniqueidStart) + 6
)

// isGUID reports whether a needle is the GUID of a message.
func isGUID(needle string) bool { return len(needle) == guidDigits }

// needles returns the GUIDs and uniqueids in text.
func needles(text []byte) (found []string) {
	seen := map[string]bool{}
	add := func(b []byte) {
		if !seen[string(b)] {
			seen[string(b)] = true
			found = append(found, string(b))
		}
	}
	digits := 0 // of the GUID that may end here
	for i, c := range text {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' {
			if digits++; digits == guidDigits {
				add(text[i+1-guidDigits : i+1])
				digits = 0
			}
			continue
		}
		digits = 0
		if c == uniqueidStart[0] && bytes.HasPrefix(text[i:], []byte(uniqueidStart)) && len(text) >= i+uniqueidBytes {
			add(text[i : i+uniqueidBytes])
		}
	}
	return found
}

// named returns the objects with blocks that checkpoints of a partition name.
func (w *soak) named(p *soakPart) map[string]bool {
	out := map[string]bool{}
	for _, k := range p.store.Keys("backups/") {
		dir, _, ok := strings.Cut(k, "/checkpoints/")
		if !ok {
			continue
		}
		path := strings.TrimPrefix(dir, "backups/")
		n, _ := history.ParseCheckpointKey(path, k)
		m, err := history.ReadCheckpoint(w.t.Context(), p.store, path, n)
		if err != nil {
			continue
		}
		for o := range m.Blocks() {
			out[o] = true
		}
		_ = m.Close()
	}
	return out
}

// naming describes the objects that name a pack.
func (w *soak) naming(p *soakPart, pack string) (text string) {
	all, err := w.search(p)
	if err != nil {
		return err.Error()
	}
	for k, s := range all {
		if s.packs[pack] {
			text += fmt.Sprintf("%s names it, and a checkpoint that: %v; ", k, w.named(p)[k])
		}
	}
	id := strings.TrimSuffix(filepath.Base(pack), ".tar.zst")
	for _, k := range p.store.Keys("moved/") {
		if from := strings.TrimSuffix(filepath.Base(k), ".json"); from != id && bytes.Contains(p.store.Bytes(k), []byte(id)) {
			text += fmt.Sprintf("%s leads to it (%s); ", k, w.naming(p, fmt.Sprintf("packs/%s/%s.tar.zst", from[:2], from)))
		}
	}
	return text
}

// isNamed reports whether an object names a pack, or a pack from which notes lead to it.
func (w *soak) isNamed(p *soakPart, all map[string]*searched, pack string) bool {
	for _, s := range all {
		if s.packs[pack] {
			return true
		}
	}
	id := strings.TrimSuffix(filepath.Base(pack), ".tar.zst")
	for _, k := range p.store.Keys("moved/") {
		if from := strings.TrimSuffix(filepath.Base(k), ".json"); from != id && bytes.Contains(p.store.Bytes(k), []byte(id)) {
			if w.isNamed(p, all, fmt.Sprintf("packs/%s/%s.tar.zst", from[:2], from)) {
				return true
			}
		}
	}
	return false
}
