package history

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// Salvage calls fn for each readable entry of a damaged object. It returns the names of
// the unreadable entries if the directory is readable. An entry with a hash in its name
// must have that hash to count as readable. fn may keep body.
func Salvage(r io.ReaderAt, size int64, fn func(name string, body []byte) error) (lost []string, err error) {
	dir, err := pack.ReadDirectory(func(off, n int64) (io.ReadCloser, error) {
		if off < 0 {
			off = max(size+off, 0)
			n = size - off
		}
		return io.NopCloser(io.NewSectionReader(r, off, n)), nil
	}, size)
	if err != nil {
		return nil, salvageScan(r, size, fn)
	}
	for _, e := range dir.Entries {
		body, err := salvageEntry(r, e)
		if err != nil {
			lost = append(lost, e.Name)
			continue
		}
		if err := fn(e.Name, body); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

func salvageEntry(r io.ReaderAt, e pack.Entry) ([]byte, error) {
	if e.Size > maxCommitSize {
		return nil, fmt.Errorf("%w: entry of %d bytes", ErrTooLarge, e.Size)
	}
	body := pack.OpenEntry(e, io.NewSectionReader(r, e.Off, e.Len))
	b, err := readAll(body, e.Size, nil)
	if err = closeAfter(body, err); err == nil {
		err = checkNamed(e.Name, b)
	}
	return b, err
}

// salvageScan reads an object without a readable directory from its start, up to the first
// damage.
func salvageScan(r io.ReaderAt, size int64, fn func(string, []byte) error) error {
	var failed error // of fn
	// The error of Scan itself is the damage.
	_ = pack.Scan(io.NewSectionReader(r, 0, size), func(name string, size int64, body io.Reader) error {
		if size > maxCommitSize {
			return nil
		}
		b, err := readAll(body, size, nil)
		if err != nil {
			return err
		}
		if checkNamed(name, b) != nil {
			return nil
		}
		failed = fn(name, b)
		return failed
	})
	return failed
}

// checkNamed compares the body of an entry with the hash in its name, if it has one.
func checkNamed(name string, body []byte) error {
	stem, ext, _ := strings.Cut(path.Base(name), ".")
	var sum string
	switch ext {
	case "eml":
		h := sha1.Sum(body)
		sum = hex.EncodeToString(h[:])
	case "part", recordBlocks, messageBlocks, placeBlocks:
		h := sha256.Sum256(body)
		sum = hex.EncodeToString(h[:])
	default:
		return nil
	}
	if sum != stem {
		return fmt.Errorf("%w: hash mismatch in entry %s", ErrCorrupt, name)
	}
	return nil
}

// SalvageCommit rebuilds the object of a commit from a damaged one, without the unreadable
// bodies. lost has the entries of these. The error is ErrCorrupt if the events are
// unreadable: then the commit is lost.
func SalvageCommit(r io.ReaderAt, size int64, backup string, number uint64, o pack.Options) (object []byte, lost []string, err error) {
	key := LogKey(backup, number)
	var events, places []byte
	var bodies []inlineBody
	lost, err = Salvage(r, size, func(name string, body []byte) error {
		switch name {
		case commitEntry:
			events = body
		case placesEntry:
			places = body
		default:
			bodies = append(bodies, inlineBody{name, body})
		}
		return nil
	})
	if err == nil {
		err = checkSalvaged(events, key, backup, number)
	}
	if err == nil {
		places, err = placesOf(places, key, bodies)
	}
	if err != nil {
		return nil, lost, inObject(key, err)
	}
	w := pack.NewWriter(nil, o)
	err = w.AddReader(commitEntry, int64(len(events)), bytes.NewReader(events))
	if err == nil && len(places) > 0 {
		err = w.Add(placesEntry, places)
	}
	for _, b := range bodies {
		if err == nil {
			err = w.Add(b.entry, b.body)
		}
	}
	if err == nil {
		object, err = w.Finish()
	}
	return object, lost, inObject(key, err)
}

// checkSalvaged checks that the bytes are the events of the commit.
func checkSalvaged(events []byte, key, backup string, number uint64) error {
	if events == nil {
		return fmt.Errorf("%w: %s cannot be read", ErrCorrupt, commitEntry)
	}
	c, err := newCommitReader(key, backup, number, entry{commitEntry, int64(len(events)), bytes.NewReader(events)}, nil)
	if err != nil {
		return err
	}
	for _, err := range c.Events() {
		if err != nil {
			return err
		}
	}
	return nil
}

// placesOf returns the places in other objects, and new places for the inline bodies that
// are left. It needs only the names and bytes of the bodies for these.
func placesOf(places []byte, key string, bodies []inlineBody) (out []byte, err error) {
	err = eachPlace(bytes.NewReader(places), key, func(p Place) error {
		if p.Object != key {
			out = p.append(out)
		}
		return nil
	})
	for _, b := range bodies {
		p := Place{Chunk: sha256.Sum256(b.body), Object: ".", Entry: b.entry}
		out = p.append(out)
	}
	return out, inObject(key, err)
}

// PeekHeader reads the header of the commit in an object, of any backup and number. It is
// for finding out which backup an object belongs to.
func PeekHeader(ctx context.Context, s objstore.Store, key string) (h Header, err error) {
	for e, err := range entriesOf(ctx, s, key) {
		if err != nil {
			return h, err
		}
		if path.Base(e.name) != commitEntry {
			break
		}
		line, err := newLines(e.body, e.size).next()
		if err == nil {
			h, err = parseHeader(line)
		}
		return h, inObject(key, err)
	}
	return h, inObject(key, fmt.Errorf("%w: no commit header", ErrCorrupt))
}
