package pack

import (
	"bytes"
	"errors"
	"testing"
)

// A shared frame that is decoded once gives the same bodies as OpenEntry, and no wrong ones if
// any byte of it is damaged.
func TestDecodeFrame(t *testing.T) {
	t.Parallel()
	obj, d, files := sample(t)
	shared := 0
	for i, e := range d.Entries {
		if !e.Shared() {
			if _, err := e.Body(make([]byte, e.Raw)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Body of %s, which has separate frames: %v", e.Name, err)
			}
			continue
		}
		shared++
		comp := obj[e.Off : e.Off+e.Len]
		raw, err := DecodeFrame(comp, e.Off)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.Body(raw); err != nil || !bytes.Equal(got, files[i].body) {
			t.Fatalf("%s: %d bytes, %v", e.Name, len(got), err)
		}
		for at := range len(comp) {
			bad := bytes.Clone(comp)
			bad[at] ^= 1
			if got, err := bodyOf(e, bad); err == nil && !bytes.Equal(got, files[i].body) || err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s with damage at %d: %d bytes, %v", e.Name, at, len(got), err)
			}
		}
		if _, err := DecodeFrame(comp[:len(comp)-1], e.Off); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, truncated: %v", e.Name, err)
		}
		if _, err := DecodeFrame(append(bytes.Clone(comp), 0), e.Off); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s with another byte: %v", e.Name, err)
		}
	}
	if shared == 0 {
		t.Fatal("the sample has no shared frame")
	}
}

func bodyOf(e Entry, comp []byte) ([]byte, error) {
	raw, err := DecodeFrame(comp, e.Off)
	if err != nil {
		return nil, err
	}
	return e.Body(raw)
}
