package partitions

import (
	"maps"
	"sync/atomic"
)

// Amount is a number of messages and the bytes of their bodies.
type Amount struct{ Messages, Bytes int64 }

// Counts are what this process has done in a partition since it began.
type Counts struct {
	Commits, CommitBytes int64
	Packs, PackBytes     int64
	// Stored are messages of commits whose bodies the mail servers sent, Deduplicated are messages whose
	// bodies the partition had already. Missing are messages whose bodies the mail servers could not
	// read; their Bytes are what the mail servers expected.
	Stored, Deduplicated, Missing Amount
	// Resyncs is how often a mailbox began to wait until its mail server sends it completely.
	Resyncs int64
}

// counters are the Counts as they change.
type counters struct {
	commits, commitBytes          atomic.Int64
	packs, packBytes              atomic.Int64
	stored, deduplicated, missing amountCounter
	resyncs                       atomic.Int64
}

type amountCounter struct{ messages, bytes atomic.Int64 }

func (a *amountCounter) add(messages, bytes int64) {
	a.messages.Add(messages)
	a.bytes.Add(bytes)
}

func (a *amountCounter) amount() Amount { return Amount{a.messages.Load(), a.bytes.Load()} }

// Counts returns what this process has done in the partition.
func (p *Partition) Counts() Counts {
	c := &p.counters
	return Counts{
		Commits: c.commits.Load(), CommitBytes: c.commitBytes.Load(),
		Packs: c.packs.Load(), PackBytes: c.packBytes.Load(),
		Stored: c.stored.amount(), Deduplicated: c.deduplicated.amount(), Missing: c.missing.amount(),
		Resyncs: c.resyncs.Load(),
	}
}

// committed counts a commit of this process.
func (c *counters) committed(bytes int64, seen *applied) {
	c.commits.Add(1)
	c.commitBytes.Add(bytes)
	c.resyncs.Add(int64(seen.resyncs))
}

// packed counts a pack of this process.
func (c *counters) packed(bytes int64) {
	c.packs.Add(1)
	c.packBytes.Add(bytes)
}

// countMessages counts the messages that the commit has added to the backup.
func (w *Writer) countMessages() {
	var sent, missing, all Amount
	for _, m := range w.staged {
		sent.Messages++
		sent.Bytes += m.size
	}
	for i := range w.news {
		m := &w.news[i]
		all.Messages++
		all.Bytes += m.Size
		if m.Missing {
			missing.Messages++
			missing.Bytes += m.Size
		}
	}
	c := &w.b.part.counters
	c.stored.add(sent.Messages, sent.Bytes)
	c.missing.add(missing.Messages, missing.Bytes)
	c.deduplicated.add(all.Messages-sent.Messages-missing.Messages, all.Bytes-sent.Bytes-missing.Bytes)
}

// Received returns the messages that clients have sent to this process.
func (s *Set) Received() Amount { return s.received.amount() }

// Refusals returns how many commands of mail servers could not be executed since this process began,
// by the kind of the refusal.
func (s *Set) Refusals() map[string]int64 {
	s.contacts.mu.Lock()
	defer s.contacts.mu.Unlock()
	return maps.Clone(s.contacts.refusals)
}
