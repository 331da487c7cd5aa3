package imapdest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/emersion/go-imap/v2"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// batch is how many messages are looked up before they are read.
const batch = 1024

// want is a message that the folder must have.
type want struct {
	ref  restore.Ref
	guid cyrus.GUID
	size int64
}

// visit is the restore of one folder.
type visit struct {
	*session
	f       *restore.Folder
	box     *box
	ids     map[uint64]bool // Message-IDs of unknown messages in the folder; nil = not fetched yet
	sending []sending       // not read back since they were sent
	counts
}

func (s *session) folder(ctx context.Context, f *restore.Folder) (err error) {
	place, err := s.place(f.Name)
	if err != nil {
		return err
	}
	v := &visit{session: s, f: f}
	if !place.exists && s.opt.DryRun {
		v.box = &box{name: place.name, journal: &journal{}, keywords: newKeywords(&imap.SelectData{})}
	} else if v.box, err = s.open(place.name); err != nil {
		return err
	}
	err = v.restore(ctx)
	if failed := v.box.journal.close(); failed != nil {
		v.rep.Warn("%s: the journal is incomplete; the next run has to compare more messages: %v", v.box.name, failed)
	}
	if err == nil {
		v.printCounts()
	}
	return err
}

// restore first finds exact matches in the whole folder, so that no message is mistaken for
// a changed copy of another message.
func (v *visit) restore(ctx context.Context) error {
	rest, err := v.known(ctx)
	if err != nil {
		return err
	}
	if rest, err = v.unmatched(rest); err != nil {
		return err
	}
	if v.opt.NewestFirst {
		slices.Reverse(rest)
	}
	for some := range slices.Chunk(rest, batch) {
		if err := v.sendMissing(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// known returns the messages of the folder that the journal does not know.
func (v *visit) known(ctx context.Context) ([]want, error) {
	var rest []want
	for _, ref := range v.f.Messages {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := v.src.Message(ref)
		if err != nil {
			return nil, err
		}
		w := want{ref, m.GUID, int64(m.Size)}
		h := v.box.takeByGUID(w.guid)
		if h == nil {
			rest = append(rest, w)
			continue
		}
		if err := v.present(h, w); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// unmatched returns the messages that the folder does not have byte for byte.
func (v *visit) unmatched(list []want) ([]want, error) {
	if len(list) == 0 || !v.box.hasUnknown() {
		return list, nil
	}
	sizes := map[int64]bool{}
	for _, w := range list {
		sizes[w.size] = true
	}
	if err := v.learnSums(v.box, keys(sizes)...); err != nil {
		return nil, err
	}
	var rest []want
	for _, w := range list {
		h := v.box.takeBySum(w.guid, w.guid)
		if h == nil {
			rest = append(rest, w)
		} else if err := v.present(h, w); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// sendMissing reads messages and sends the messages that the folder does not have in a changed form.
func (v *visit) sendMissing(ctx context.Context, list []want) error {
	guids := make([]cyrus.GUID, len(list))
	for i, w := range list {
		guids[i] = w.guid
	}
	if v.opt.DryRun && !v.box.hasUnknown() {
		return v.countMissing(list)
	}
	i := 0
	for l := range v.src.LoadAll(ctx, guids) {
		w := list[i]
		i++
		if l.Err != nil {
			if l.Ends() {
				return fmt.Errorf("reading the backup: %w", l.Err)
			}
			v.refuse(w, l.Err)
			continue
		}
		err := v.one(w, l.Body)
		if closed := l.Body.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return v.lookBack()
}

// countMissing counts, in a dry run, messages that the folder cannot have.
func (v *visit) countMissing(list []want) error {
	for _, w := range list {
		m, err := v.src.Message(w.ref)
		if err != nil {
			return err
		}
		v.rep.Added(1, w.size)
		v.added++
		v.report(m, v.box.keywords.sort(m.Flags).lost)
	}
	return nil
}

// one sends a message unless the folder has it.
func (v *visit) one(w want, b *restore.Body) error {
	e, err := expect(b, w.guid)
	if err != nil {
		return err
	}
	if v.box.hasUnknown() {
		for _, d := range v.behaviour.possible(e) {
			if err := v.learnSums(v.box, d.size); err != nil {
				return err
			}
			if h := v.box.takeBySum(d.sum, w.guid); h != nil {
				v.changed++
				return v.present(h, w)
			}
		}
		if err := v.twin(b); err != nil {
			return err
		}
	}
	m, err := v.src.Message(w.ref)
	if err != nil {
		return err
	}
	if v.opt.DryRun {
		v.rep.Added(1, b.Size)
		v.added++
		v.report(m, v.box.keywords.sort(m.Flags).lost)
		return nil
	}
	return v.send(w, m, b, e)
}

// present counts a message that the folder has, and sets its missing flags.
func (v *visit) present(h *held, w want) error {
	v.there++
	v.rep.There(1, w.size)
	if len(h.lacks) == 0 {
		return nil
	}
	m, err := v.src.Message(w.ref)
	if err != nil {
		return err
	}
	return v.complete(h, m)
}

// twin counts a message that is sent although an unknown message has the same Message-ID.
func (v *visit) twin(b *restore.Body) error {
	if v.ids == nil {
		var err error
		if v.ids, err = v.messageIDs(v.box); err != nil {
			return err
		}
	}
	id, err := idOf(b)
	if err == nil && id != 0 && v.ids[id] {
		v.twins++
	}
	return err
}

// refuse reports a message that was not restored.
func (v *visit) refuse(w want, err error) {
	v.refused++
	v.rep.Fail(fmt.Errorf("%s: uid %d (message %s): %w", v.f.Name, w.ref.UID, w.guid, err))
}

// answered returns the server's refusal from an error, except BYE.
func answered(err error) *imap.Error {
	var refused *imap.Error
	if errors.As(err, &refused) && refused.Type != imap.StatusResponseTypeBye {
		return refused
	}
	return nil
}

func keys(m map[int64]bool) []int64 {
	out := make([]int64, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}
