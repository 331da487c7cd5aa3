package metrics

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/partitions"
)

// engine are the metrics of commits and packs, and of refusals.
type engine struct {
	set *partitions.Set

	received, receivedBytes *family
	messages, bytes         *family
	commits, commitBytes    *family
	packs, packBytes        *family
	resyncs, refusals       *family
}

func newEngine(c *catalogue, set *partitions.Set) *engine {
	c.begin("Mail")
	const body = "by where their bodies come from: stored (the mail server sent them), deduplicated (the partition had them), missing (the mail server could not read them)."
	return &engine{
		set:           set,
		received:      c.counter("received_messages_total", "Messages that mail servers have sent."),
		receivedBytes: c.counter("received_message_bytes_total", "Bytes of these messages, not compressed."),
		messages:      c.counter("committed_messages_total", "Messages that commits have added to backups, "+body, "partition", "body"),
		bytes:         c.counter("committed_message_bytes_total", "Bytes of these messages, not compressed.", "partition", "body"),
		commits:       c.counter("commits_total", "Commits that were put into the bucket.", "partition"),
		commitBytes:   c.counter("commit_bytes_total", "Bytes of these commits, with the small messages that are part of them, compressed.", "partition"),
		packs:         c.counter("written_packs_total", "Packs that were put into the bucket.", "partition"),
		packBytes:     c.counter("written_pack_bytes_total", "Bytes of these packs, compressed.", "partition"),
		resyncs:       c.counter("resyncs_total", "Mailboxes that began to wait until their mail server sends them completely, because they differed from it.", "partition"),
		refusals: c.counter("refusals_total",
			"Commands of mail servers that could not be executed, by kind: those of docs/errors.md, and busy (another program works on the backup).", "kind"),
	}
}

func (x *engine) collect(ch chan<- prometheus.Metric) {
	received := x.set.Received()
	x.received.value(ch, float64(received.Messages))
	x.receivedBytes.value(ch, float64(received.Bytes))
	for _, p := range x.set.Partitions() {
		x.partition(ch, p.Name(), p.Counts())
	}
	refusals := x.set.Refusals()
	for _, kind := range partitions.RefusalKinds() { // a rate needs the value 0 before the first event
		refusals[kind] += 0
	}
	for _, kind := range slices.Sorted(maps.Keys(refusals)) {
		x.refusals.value(ch, float64(refusals[kind]), kind)
	}
}

func (x *engine) partition(ch chan<- prometheus.Metric, name string, n partitions.Counts) {
	for _, b := range []struct {
		body string
		is   partitions.Amount
	}{{"stored", n.Stored}, {"deduplicated", n.Deduplicated}, {"missing", n.Missing}} {
		x.messages.value(ch, float64(b.is.Messages), name, b.body)
		x.bytes.value(ch, float64(b.is.Bytes), name, b.body)
	}
	x.commits.value(ch, float64(n.Commits), name)
	x.commitBytes.value(ch, float64(n.CommitBytes), name)
	x.packs.value(ch, float64(n.Packs), name)
	x.packBytes.value(ch, float64(n.PackBytes), name)
	x.resyncs.value(ch, float64(n.Resyncs), name)
}
