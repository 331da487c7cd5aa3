package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/rangecache"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Problem is one thing that is wrong with a backup.
type Problem struct {
	Object  string // key, or the mailbox that it is about
	Text    string
	Missing bool // a body that the source is asked for: nothing here is damaged
	Lost    bool // history that the log itself records as lost: it is known, and nothing is to be done
}

// String is the line for people.
func (p Problem) String() string {
	if strings.HasPrefix(p.Text, p.Object+":") {
		return p.Text
	}
	return p.Object + ": " + p.Text
}

// Options says how to verify. Report is told of each problem as it is found, on
// the goroutine that verifies; Step of what is looked at now (nil = nobody listens).
type Options struct {
	Quick  bool // the newest checkpoint and the commits after it, and no bodies
	Report func(Problem)
	Step   func(string)
}

// Result is what was looked at.
type Result struct {
	Objects, Commits, Checkpoints, Mailboxes, Messages int
	Bytes                                              int64 // of bodies
	Damaged, Missing, Lost                             int   // problems
}

// Run compares what a backup says with what is in its partition. Damage goes to
// Report and does not end it; the error is of a store that could not be asked.
func Run(ctx context.Context, f *repository.Found, v Options) (Result, error) {
	w := newVerifier(ctx, f, v)
	err := w.run()
	return w.done, err
}

func newVerifier(ctx context.Context, f *repository.Found, v Options) *verifier {
	return &verifier{ctx: ctx, f: f, v: v, store: rangecache.New(f.Partition.Store, 16<<20), seen: map[string]bool{}, blocks: map[string]bool{}}
}

type verifier struct {
	ctx      context.Context // of Verify
	f        *repository.Found
	v        Options
	store    objstore.Store
	done     Result
	seen     map[string]bool // blocks that were read, by object and hash
	reported map[string]bool // problems, by text

	blocks    map[string]bool // objects in records/: whether they are sound
	log       loggedProblems
	diagnosis diagnosis
}

func (w *verifier) step(format string, args ...any) {
	if w.v.Step != nil {
		w.v.Step(fmt.Sprintf(format, args...))
	}
}

// damage reports err if it is damage, once, and returns it otherwise.
func (w *verifier) damage(object string, err error) error {
	if err == nil || !history.IsDamage(err) || w.ctx.Err() != nil {
		return err
	}
	w.problem(Problem{Object: object, Text: err.Error()})
	return nil
}

func (w *verifier) problem(p Problem) {
	if w.reported[p.String()] {
		return
	}
	if w.reported == nil {
		w.reported = map[string]bool{}
	}
	w.reported[p.String()] = true
	switch {
	case p.Missing:
		w.done.Missing++
	case p.Lost:
		w.done.Lost++
	default:
		w.done.Damaged++
	}
	w.v.Report(p)
}

func (w *verifier) run() error {
	if _, err := repository.ReadInfo(w.ctx, w.f.Partition.Store); err != nil {
		if objstore.IsTemporary(err) || w.ctx.Err() != nil {
			return err
		}
		w.problem(Problem{Object: repository.Key, Text: err.Error()})
	}
	if err := w.info(); err != nil {
		return err
	}
	if err := w.lock(); err != nil {
		return err
	}
	if _, _, err := history.ReadCondemned(w.ctx, w.f.Partition.Store); err != nil {
		if err := w.damage(history.CondemnedKey, err); err != nil { // no daemon writes to the partition then
			return err
		}
		w.diagnosis.condemned = true
	}
	var m *history.Mem
	var err error
	if w.v.Quick {
		m, err = w.newest()
	} else {
		m, err = w.whole()
	}
	if err != nil || m == nil {
		return err
	}
	defer m.Close()
	if w.v.Quick {
		return nil
	}
	if err := w.mailboxes(m); err != nil {
		return err
	}
	return w.bodies(m)
}

// lock looks at lock.json: a daemon that cannot read it commits nothing.
func (w *verifier) lock() error {
	_, _, err := repository.ReadLock(w.ctx, w.f.Partition.Store, w.f.Path)
	if err == nil || repository.IsStoreError(err) {
		return err
	}
	w.problem(Problem{Object: repository.LockKey(w.f.Path), Text: err.Error()})
	w.diagnosis.lock = true
	return nil
}

// info looks at backup.json.
func (w *verifier) info() error {
	info, err := repository.ReadBackupInfo(w.ctx, w.f.Partition.Store, w.f.Path)
	if repository.IsStoreError(err) && !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	n := repository.Name{}
	if err == nil {
		n = repository.Name{Kind: info.Kind, Full: info.Name}
	}
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		err = repository.ErrIncomplete
	case err == nil && n.Path() != w.f.Path:
		err = fmt.Errorf("it is the backup of %s", n)
	case err == nil:
		return nil
	}
	w.problem(Problem{Object: repository.BackupInfoKey(w.f.Path), Text: err.Error()})
	w.diagnosis.info = true
	return nil
}

// newest is the state that a restore would begin with: the newest checkpoint, and the
// commits after it. nil when it cannot be read, which has been reported.
func (w *verifier) newest() (*history.Mem, error) {
	w.step("checking the newest commits")
	m, err := w.f.Load(w.ctx, history.Moment{Tolerant: true})
	switch {
	case errors.Is(err, history.ErrBeforeFirst):
		return nil, nil // made, and never written to
	case err != nil:
		return nil, w.damage("backups/"+w.f.Path, err)
	}
	w.gaps(m)
	w.done.Commits = int(m.Tip().Number - m.Checkpoint().Number)
	if m.Checkpoint().Number > 0 {
		w.done.Checkpoints = 1
	}
	// What the commits have not touched was not read yet.
	err = m.CheckBlocks(w.ctx, w.seen, func(object string, err error) { w.problem(Problem{Object: object, Text: err.Error()}) })
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// whole checks every object of the backup, follows the log from its first commit and
// compares each checkpoint with the state there.
func (w *verifier) whole() (*history.Mem, error) {
	first, newest, err := w.objects()
	if err == nil && newest == 0 {
		err = w.noLog()
	}
	if err != nil || newest == 0 {
		return nil, err
	}
	chain := &chain{w: w, newest: newest}
	if err := chain.begin(first); err != nil {
		return nil, err
	}
	if err := chain.follow(); err != nil {
		return nil, err
	}
	w.tellLog()
	return w.state()
}

// objects reads every object of the backup itself, and says which commits there are. Keys
// of other shapes are left out.
func (w *verifier) objects() (first, newest uint64, err error) {
	w.step("checking the objects of the log")
	for info, err := range w.store.List(w.ctx, repository.BackupPrefix(w.f.Path), "") {
		if err != nil {
			return 0, 0, err
		}
		from, to, isLog := history.ParseLogKey(w.f.Path, info.Key)
		number, isCheckpoint := history.ParseCheckpointKey(w.f.Path, info.Key)
		isBlocks := history.IsRecordsKey(w.f.Path, info.Key)
		if !isLog && !isCheckpoint && !isBlocks {
			continue
		}
		w.done.Objects++
		damage := history.CheckObject(w.ctx, w.f.Partition.Store, info.Key)
		if damage != nil && (!history.IsDamage(damage) || w.ctx.Err() != nil) {
			return 0, 0, damage
		}
		switch {
		case isLog:
			if first == 0 {
				first = from
			}
			newest = max(newest, to)
			w.log.have(from, to)
			w.log.add(from, to, info.Key, damage)
			continue
		case isBlocks:
			w.blocks[info.Key] = damage == nil
		case damage != nil:
			w.diagnosis.checkpoint(number)
		}
		if err := w.damage(info.Key, damage); err != nil {
			return 0, 0, err
		}
	}
	return first, newest, nil
}

// chain is the way along the log.
type chain struct {
	w           *verifier
	m           *history.Mem // nil once it is lost
	checkpoints []uint64     // to be compared, ascending
	newest      uint64
}

func (c *chain) begin(first uint64) error {
	w := c.w
	w.step("checking the chain of commits %d to %d", first, c.newest)
	numbers, err := w.f.Log().Checkpoints(w.ctx)
	if err != nil {
		return err
	}
	for i := len(numbers) - 1; i >= 0; i-- {
		c.checkpoints = append(c.checkpoints, numbers[i])
	}
	if first <= 1 {
		c.m, err = history.NewMem(w.ctx, w.f.Partition.Store, w.f.Path)
		return err
	}
	if err := c.given(first); err != nil {
		return err
	}
	return c.resume(first)
}

// resume goes on from the first checkpoint that allows it, when the commits from n on
// cannot be told from the state that there was.
func (c *chain) resume(n uint64) error {
	c.m = nil
	for len(c.checkpoints) > 0 {
		at := c.checkpoints[0]
		c.checkpoints = c.checkpoints[1:]
		if at+1 < n {
			continue
		}
		m, err := c.read(at)
		if err == nil && m != nil {
			err = c.skim(n, at)
		}
		if m != nil || err != nil {
			c.m = m
			return err
		}
	}
	if err := c.skim(n, c.newest); err != nil {
		return err
	}
	c.w.log.unchecked = n
	return nil
}

// read reads a checkpoint with all its blocks; nil when it is damaged, which is reported.
func (c *chain) read(n uint64) (*history.Mem, error) {
	w := c.w
	key := history.CheckpointKey(w.f.Path, n)
	m, err := history.ReadCheckpoint(w.ctx, w.f.Partition.Store, w.f.Path, n)
	if err != nil {
		w.diagnosis.checkpoint(n)
		return nil, w.damage(key, err)
	}
	w.done.Checkpoints++
	bad := false
	err = m.CheckBlocks(w.ctx, w.seen, func(object string, err error) {
		bad = true
		w.blocks[object] = false // for every other checkpoint that names it
		w.problem(Problem{Object: object, Text: err.Error()})
	})
	// A sound block in a damaged object will not be there for long.
	if bad || m.NamesBlocksIn(w.unsound) {
		w.diagnosis.checkpoint(n)
	}
	if err != nil || bad {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// follow folds the log, and compares the checkpoints on the way.
func (c *chain) follow() error {
	w := c.w
	for c.m != nil && c.m.Tip().Number < c.newest {
		var failed error
		for r, err := range w.f.Log().CommitsAfter(w.ctx, c.m.Tip(), c.newest) {
			if err == nil {
				err = c.m.Apply(r)
			}
			if err != nil {
				failed = err
				break
			}
			w.done.Commits++
			if err := c.compare(); err != nil {
				return err
			}
		}
		w.log.known = append(w.log.known, c.m.Bridged()...)
		if failed == nil {
			break
		}
		if !history.IsDamage(failed) || w.ctx.Err() != nil {
			return failed
		}
		n := c.m.Tip().Number + 1
		if !errors.Is(failed, history.ErrAbsent) { // skim names the whole run
			w.log.add(n, n, history.LogKey(w.f.Path, n), failed)
		}
		if err := errors.Join(c.m.Close(), c.resume(n)); err != nil {
			return err
		}
	}
	if c.m == nil {
		return nil
	}
	return c.m.Close()
}

// compare compares the checkpoint of the commit that was just folded.
func (c *chain) compare() error {
	n := c.m.Tip().Number
	for len(c.checkpoints) > 0 && c.checkpoints[0] < n {
		c.checkpoints = c.checkpoints[1:]
	}
	if len(c.checkpoints) == 0 || c.checkpoints[0] != n {
		return nil
	}
	m, err := c.read(n)
	if err != nil || m == nil {
		return err
	}
	defer m.Close()
	diff, err := m.Difference(c.m)
	if err != nil {
		c.w.diagnosis.checkpoint(n)
		return c.w.damage(history.CheckpointKey(c.w.f.Path, n), err)
	}
	if diff != "" {
		c.w.diagnosis.wrong(n)
		c.w.problem(Problem{Object: history.CheckpointKey(c.w.f.Path, n), Text: "it is not the state that the log folds to: " + diff})
	}
	return nil
}

// mailboxes counts every mailbox anew, and looks for the message of each live record.
func (w *verifier) mailboxes(m *history.Mem) error {
	w.step("checking the mailboxes")
	for box, err := range m.Mailboxes() {
		if err != nil {
			return err
		}
		w.done.Mailboxes++
		n, err := history.Recount(m, box.UniqueID)
		if err != nil {
			return w.damage(box.Name, err)
		}
		if n.Records != box.Records || n.Live != box.Live || n.CRC != box.CRC {
			w.problem(Problem{Object: box.Name, Text: fmt.Sprintf("it has %d records, %d of them live, with CRC %d; the state says %d, %d and %d",
				n.Records, n.Live, n.CRC.Basic, box.Records, box.Live, box.CRC.Basic)})
		}
		if err := w.records(m, box); err != nil {
			return err
		}
	}
	return nil
}

func (w *verifier) records(m *history.Mem, box *history.MailboxState) error {
	for r, err := range m.Records(box.UniqueID, 0) {
		if err != nil {
			return err
		}
		if r.Expunged != 0 || !box.Deleted.IsZero() {
			continue
		}
		msg, err := m.Message(r.GUID)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%s: uid %d: message %s", box.Name, r.UID, r.GUID)
		switch {
		case msg == nil:
			w.diagnosis.unknown(r.GUID, int64(r.Size))
			w.problem(Problem{Object: name, Text: "the backup does not know it"})
		case msg.Missing:
			w.problem(Problem{Object: name, Text: "its body is missing: the source could not read it, or it was lost here, and the source is asked for it", Missing: true})
		case msg.Size != int64(r.Size):
			w.diagnosis.resync(box.UniqueID)
			w.problem(Problem{Object: name, Text: fmt.Sprintf("it has %d bytes, the record says %d", msg.Size, r.Size)})
		}
	}
	return nil
}

// readers is how many bodies are read side by side.
const readers = 4

// bodies reads every message of the backup, those that were expunged too, by its
// hashes. Messages are told in the order in which they came, as they lie in packs.
func (w *verifier) bodies(m *history.Mem) error {
	w.step("checking the messages")
	objects := history.NewObjects(w.store, 0)
	read := map[cyrus.GUID]struct{}{}
	results := make(chan badBody)
	g, ctx := errgroup.WithContext(w.ctx)
	g.SetLimit(readers)
	var list error
	go func() {
		defer close(results)
		for msg, err := range m.Messages() {
			if _, twice := read[msgGUID(msg)]; twice && err == nil {
				continue
			}
			if err == nil {
				msg, err = m.Message(msg.GUID) // the last that was told of it counts
			}
			if err != nil || ctx.Err() != nil {
				list = err
				break
			}
			read[msg.GUID] = struct{}{}
			if msg.Missing {
				continue
			}
			places, err := placesOf(m, msg)
			if err != nil {
				list = err
				break
			}
			w.done.Messages++
			w.done.Bytes += msg.Size
			g.Go(func() error { return readBody(ctx, objects, msg, places, results) })
		}
		list = errors.Join(list, g.Wait())
	}()
	for b := range results {
		w.diagnosis.bodies = append(w.diagnosis.bodies, b.guid)
		w.problem(Problem{Object: "message " + b.guid.String(), Text: b.err.Error()})
	}
	if list != nil {
		return w.damage("backups/"+w.f.Path, list)
	}
	return nil
}

func msgGUID(m *history.MessageState) cyrus.GUID {
	if m == nil {
		return cyrus.GUID{}
	}
	return m.GUID
}

// placesOf looks up where the chunks of a message lie.
func placesOf(m *history.Mem, msg *history.MessageState) (map[history.ChunkID][]history.Place, error) {
	out := map[history.ChunkID][]history.Place{}
	for _, c := range msg.Chunks {
		p, err := m.Places(c)
		if err != nil {
			return nil, err
		}
		out[c] = p
	}
	return out, nil
}

// badBody is a message that cannot be read.
type badBody struct {
	guid cyrus.GUID
	err  error
}

func readBody(ctx context.Context, o *history.Objects, msg *history.MessageState, places map[history.ChunkID][]history.Place, bad chan<- badBody) error {
	body, err := history.OpenMessage(ctx, o, msg, func(c history.ChunkID) ([]history.Place, error) { return places[c], nil })
	if err == nil {
		_, err = io.Copy(io.Discard, body)
		err = errors.Join(err, body.Close())
	}
	if err == nil || !history.IsDamage(err) || ctx.Err() != nil {
		return err
	}
	select {
	case bad <- badBody{msg.GUID, err}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
