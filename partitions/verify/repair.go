package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// RepairOptions says how to repair a backup.
type RepairOptions struct {
	Lock repository.LockOptions
	// Others are where healthy copies of bodies are looked for: all partitions, this one too.
	Others   []repository.Config
	Pack     pack.Options
	PackSize int64 // bytes of a pack; 0: 12 MiB
	// Problem is called with what verify finds before the repair, and Report with what was
	// done about it.
	Problem func(Problem)
	Report  func(Change)
	Step    func(string) // what is looked at now; nil = nobody listens
}

// Outcome is what came of something that was damaged.
type Outcome string

// The outcomes.
const (
	Repaired  Outcome = "repaired" // it is whole again
	Waits     Outcome = "waits"    // for the next sync: the source has it
	LostHere  Outcome = "lost"     // history that nobody has any more
	Unchanged Outcome = "not repaired"
)

// Change is what was done about something.
type Change struct {
	Outcome Outcome `json:"outcome"`
	Object  string  `json:"object"` // key, or what it is about
	Text    string  `json:"text"`
}

// String is the line for people.
func (r Change) String() string { return fmt.Sprintf("%s: %s: %s", r.Outcome, r.Object, r.Text) }

// RepairResult is what came of a repair.
type RepairResult struct {
	Found    int // problems before
	Outcomes map[Outcome]int
	Left     Result // of the verification at the end; zero when nothing was found
	Aside    string // where the backup was set aside, since it was another's
}

// Repair verifies a backup, and repairs what can be repaired in the bucket alone. Whatever
// needs the source is left in a state in which the next sync brings it. A lock keeps
// writers off meanwhile, and daemons catch up with the log afterwards. Each step is durable
// before another one depends on it, so that a repair that was cut off is done again.
func Repair(ctx context.Context, f *repository.Found, o RepairOptions) (RepairResult, error) {
	if f.Aside != "" {
		return RepairResult{}, fmt.Errorf("%s: %w", f.Aside, repository.ErrAside)
	}
	if o.PackSize == 0 {
		o.PackSize = 12 << 20
	}
	r := &repairer{ctx: ctx, f: f, o: o, store: f.Partition.Store, done: RepairResult{Outcomes: map[Outcome]int{}}}
	w := newVerifier(ctx, f, Options{Report: o.Problem, Step: o.Step})
	if err := w.run(); err != nil {
		return r.done, err
	}
	r.done.Found = w.done.Damaged
	if r.done.Found == 0 {
		return r.done, nil
	}
	r.what, r.blocks = w.diagnosis, w.blocks
	if foreign, err := r.foreign(ctx); err != nil || foreign {
		return r.done, err
	}
	if err := r.locked(ctx); err != nil {
		return r.done, err
	}
	w = newVerifier(ctx, f, Options{Report: r.left, Step: o.Step})
	err := w.run()
	r.done.Left = w.done
	return r.done, err
}

// repairer repairs one backup.
type repairer struct {
	ctx    context.Context // of Repair
	f      *repository.Found
	o      RepairOptions
	store  objstore.Store
	what   diagnosis
	blocks map[string]bool // objects in records/: whether they are sound
	lock   *repository.Lock
	done   RepairResult
}

func (r *repairer) report(o Outcome, object, format string, args ...any) {
	r.done.Outcomes[o]++
	r.o.Report(Change{o, object, fmt.Sprintf(format, args...)})
}

// left reports what is still damaged at the end.
func (r *repairer) left(p Problem) {
	if !p.Missing && !p.Lost {
		r.report(Unchanged, p.Object, "%s", p.Text)
	}
}

// unsound says that an object with blocks is damaged or gone. One that came since is sound.
func (r *repairer) unsound(object string) bool {
	sound, known := r.blocks[object]
	if known {
		return !sound
	}
	_, err := r.store.Stat(r.ctx, object)
	return errors.Is(err, objstore.ErrNotExist)
}

func (r *repairer) step(what string) {
	if r.o.Step != nil {
		r.o.Step(what)
	}
}

// locked repairs while writers are kept off.
func (r *repairer) locked(ctx context.Context) (err error) {
	o := r.o.Lock
	o.Mend = true
	if r.lock, err = r.f.TakeLease(ctx, o); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.lock.Release(context.WithoutCancel(ctx))) }()
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.lock.Lost(), cancel)()
	if r.what.lock {
		r.report(Repaired, repository.LockKey(r.f.Path), "put again; nobody held the lock")
	}
	for _, step := range []func(context.Context) error{r.condemned, r.backupInfo, r.salvageLog, r.announce, r.bridge, r.bodies, r.checkpoints} {
		if err := step(during); err != nil {
			return err
		}
	}
	return nil
}

// announce keeps daemons off that have the backup open.
func (r *repairer) announce(ctx context.Context) error { return r.lock.AnnounceAnyway(ctx) }

// condemned replaces a list of condemned packs that cannot be read by an empty one: whoever
// deletes packs finds none in it, and a pack that is not deleted can be referred to.
func (r *repairer) condemned(ctx context.Context) error {
	if !r.what.condemned {
		return nil
	}
	_, info, err := history.ReadCondemned(ctx, r.store)
	if err == nil || !history.IsUnreadable(err) {
		return err
	}
	if info.ETag == "" { // the error came before the object was open
		if info, err = r.store.Stat(ctx, history.CondemnedKey); err != nil {
			return err
		}
	}
	b, err := (&history.Condemned{Version: history.Version, Packs: []history.CondemnedPack{}}).Append(nil)
	if err != nil {
		return err
	}
	if err := r.replace(ctx, history.CondemnedKey, info.ETag, b); err != nil {
		return err
	}
	r.report(Repaired, history.CondemnedKey, "replaced by an empty list: no pack is deleted for now")
	return nil
}

// salvageLog makes objects of commits again whose events can be read. What cannot be read in
// them are bodies, which are looked for later.
func (r *repairer) salvageLog(ctx context.Context) error {
	for _, key := range r.what.objects {
		n, _, _ := history.ParseLogKey(r.f.Path, key)
		if history.CheckObject(ctx, r.store, key) == nil {
			continue // a commit of another history, in a sound object: bridge names it
		}
		body, etag, drop, err := repository.Hold(ctx, r.store, key)
		if errors.Is(err, objstore.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		obj, lost, err := history.SalvageCommit(body, body.Size(), r.f.Path, n, r.o.Pack)
		drop()
		if err != nil {
			continue // the commit is lost: bridge names it
		}
		if err := r.replace(ctx, key, etag, obj); err != nil {
			return err
		}
		r.what.log = slices.DeleteFunc(r.what.log, func(l history.LostRange) bool { return l.From == n && l.To == n })
		if len(lost) == 0 {
			r.report(Repaired, key, "put again, whole")
		} else {
			r.report(Repaired, key, "put again, without %d bodies that cannot be read", len(lost))
		}
	}
	return nil
}

// replace puts an object over the one that was read.
func (r *repairer) replace(ctx context.Context, key, etag string, b []byte) error {
	o := objstore.PutOptions{IfMatch: etag}
	if etag == "" {
		o = objstore.PutOptions{IfAbsent: true}
	}
	_, err := r.store.Put(ctx, key, bytes.NewReader(b), o)
	return err
}
