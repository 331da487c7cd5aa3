package attestation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Finding is a difference between the bucket and a list that nothing explains.
type Finding struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
	// Since is the number of the list that has recorded it; 0 = none has.
	Since uint64 `json:"since,omitempty"`
	// Number and Hash are the commit that is missing, or was rewritten.
	Number uint64 `json:"number,omitempty"`
	Hash   string `json:"hash,omitempty"`
}

// same reports whether two findings are the same fact.
func (f *Finding) same(g Finding) bool { return f.Kind == g.Kind && f.Text == g.Text }

// id identifies a finding about lists.
func (f *Finding) id() string {
	sum := sha256.Sum256([]byte(f.Kind + "\x00" + f.Text))
	return hex.EncodeToString(sum[:8])
}

// The kinds of findings. Those about lists have no backup.
const (
	Rewritten  = "rewritten"   // a commit has another hash
	RolledBack = "rolled-back" // the log ends before the commit that was its newest
	Shortened  = "shortened"   // commits are gone that no retention may have removed
	Checkpoint = "checkpoint"  // the state before the log has changed
	Unreadable = "unreadable"  // it could not be compared
	OfList     = "list"        // a list was removed, replaced or forged
)

// cut limits a text of others that gets into a list.
func cut(text string) string {
	const most = 500
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func finding(kind, format string, args ...any) *Finding {
	return &Finding{Kind: kind, Text: cut(fmt.Sprintf(format, args...))}
}

// Problem is a finding in a partition.
type Problem struct {
	Partition string `json:"partition"`
	Backup    string `json:"backup,omitempty"` // "" = it is about the lists
	Name      string `json:"name,omitempty"`
	Finding
	// Outage means that the store has not answered: it says nothing about the backup.
	Outage bool `json:"outage,omitempty"`
}

// String returns the problem as a line of text.
func (p Problem) String() string {
	at := p.Partition
	if p.Backup != "" {
		at += ":" + p.Backup
	}
	since := ""
	if p.Since > 0 {
		since = fmt.Sprintf(" (recorded in list %d)", p.Since)
	}
	return fmt.Sprintf("%s: %s: %s%s", at, p.Kind, p.Text, since)
}
