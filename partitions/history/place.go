package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

func (p *Place) append(dst []byte) []byte {
	dst = append(dst, `{"chunk":`...)
	dst = appendHex(dst, p.Chunk[:])
	dst = append(dst, `,"object":`...)
	dst = dlist.AppendJSONString(dst, p.Object)
	dst = append(dst, `,"entry":`...)
	dst = dlist.AppendJSONString(dst, p.Entry)
	return append(dst, '}', '\n')
}

// placeParser reads lines of places.ndjson. Consecutive places in one object share the
// string with its key.
type placeParser struct {
	object string
	safe   bool // object was checked
}

func (r *placeParser) parse(line []byte) (Place, error) {
	p, ok := scanPlace(line, r.object)
	if !ok {
		r.object, r.safe = p.Object, false
		return decodePlace(line)
	}
	if p.Object != r.object || !r.safe {
		r.object, r.safe = p.Object, safeKey(p.Object)
	}
	if !r.safe {
		return p, p.check()
	}
	return p, p.checkEntry()
}

// decodePlace reads a line in any form.
func decodePlace(line []byte) (p Place, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	err = eachKey(d, func(key string) error {
		if key == "chunk" {
			return decodeHex(d, p.Chunk[:])
		}
		return decodeField(d, reflect.ValueOf(&p).Elem(), key)
	})
	if err != nil {
		return p, fmt.Errorf("%w: place: %w", ErrCorrupt, err)
	}
	return p, p.check()
}

// scanPlace reads the exact form that append writes. object is the one of the line before.
func scanPlace(line []byte, object string) (p Place, ok bool) {
	s := scanner{exactjson.Over(line)}
	s.Want(`{"chunk":"`)
	s.Hex(p.Chunk[:])
	s.Want(`","object":`)
	p.Object = s.textLike(object)
	s.Want(`,"entry":`)
	p.Entry = s.text()
	s.Want(`}`)
	return p, s.Ended()
}

// isInPack reports whether a line is in the form that append writes and its object is a pack.
func isInPack(line []byte) bool {
	const (
		before = len(`{"chunk":"`) + 2*len(ChunkID{})
		object = `","object":"packs/`
		end    = objectSuffix + `"`
		after  = before + len(object) + len(`xx/`) + 2*sha256.Size
	)
	return len(line) > after+len(end) && string(line[before:before+len(object)]) == object && string(line[after:after+len(end)]) == end
}

// check refuses a place outside packs and logs, so that a forged place cannot make a
// reader open other keys.
func (p *Place) check() error {
	if p.Object == erasedObject {
		if _, err := time.Parse(time.RFC3339, p.Entry); err != nil {
			return fmt.Errorf("%w: place of chunk %s: erased at %q", ErrCorrupt, p.Chunk, p.Entry)
		}
		return nil
	}
	if !safeKey(p.Object) && p.Object != "." {
		return fmt.Errorf("%w: place of chunk %s in object %q", ErrCorrupt, p.Chunk, p.Object)
	}
	return p.checkEntry()
}

// checkEntry is check for a place whose object was checked.
func (p *Place) checkEntry() error {
	if pack.CheckName(p.Entry) != nil || !(strings.HasSuffix(p.Entry, ".eml") || strings.HasSuffix(p.Entry, ".part")) {
		return fmt.Errorf("%w: place of chunk %s in entry %q", ErrCorrupt, p.Chunk, p.Entry)
	}
	return nil
}

// safeKey reports whether a place may name this key.
func safeKey(key string) bool {
	if !strings.HasSuffix(key, objectSuffix) || !plainKey(key) {
		return false
	}
	return strings.HasPrefix(key, "packs/") || (strings.HasPrefix(key, "backups/") && strings.Contains(key, "/log/"))
}
