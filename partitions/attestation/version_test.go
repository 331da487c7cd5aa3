package attestation

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A list of a newer program is no forgery: nothing is made or compared before this program is upgraded.
func TestNewerVersion(t *testing.T) {
	for name, change := range map[string]func(*world){
		"comment": func(w *world) {
			old, err := Describe(w.store.Bytes(SignatureKey(1)))
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(old.String(), "version=1 number=1", "version=2 number=2", 1) + " more=1"
			hashed := minisign.NewReader(strings.NewReader("a list"))
			if _, err := bytes.NewBuffer(nil).ReadFrom(hashed); err != nil {
				t.Fatal(err)
			}
			put(t, w.store, SignatureKey(2), hashed.SignWithComments(w.key, text, "x"))
		},
		"header": func(w *world) {
			out, err := newWriter(Header{Version: 2, Number: 1, Repository: w.id()})
			if err != nil {
				t.Fatal(err)
			}
			defer out.close()
			list, err := out.sign(w.key)
			if err != nil {
				t.Fatal(err)
			}
			body := make([]byte, list.Body.Size())
			if _, err := list.Body.ReadAt(body, 0); err != nil {
				t.Fatal(err)
			}
			put(t, w.store, ListKey(1, list.Comment.List.SHA256), body)
			put(t, w.store, SignatureKey(1), list.Signature)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "anne")
			w.seal()
			w.outside = nil
			change(w)
			var f findings
			o := w.options(&f)
			o.Outside = nil
			before := len(w.store.Keys(Prefix))
			if r, err := Seal(t.Context(), w.config(w.store), w.key, o); r != nil || !errors.Is(err, repository.ErrVersion) || len(w.store.Keys(Prefix)) != before {
				t.Errorf("seal: %+v, %v, %q", r, err, f)
			}
			if r, err := Verify(t.Context(), w.config(w.store), nil, o); r != nil || !errors.Is(err, repository.ErrVersion) {
				t.Errorf("verify: %+v, %v, %q", r, err, f)
			}
		})
	}
}

func (w *world) id() string {
	info, err := repository.ReadInfo(w.t.Context(), w.store)
	if err != nil {
		w.t.Fatal(err)
	}
	return info.ID
}
