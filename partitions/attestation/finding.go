package attestation

import (
	"fmt"
	"strings"
)

// Finding is a difference between the bucket and a list that nothing explains.
type Finding struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
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
	return &Finding{kind, cut(fmt.Sprintf(format, args...))}
}

// Problem is a finding in a partition.
type Problem struct {
	Partition string `json:"partition"`
	Backup    string `json:"backup,omitempty"` // "" = it is about the lists
	Name      string `json:"name,omitempty"`
	Finding
}

// String returns the problem as a line of text.
func (p Problem) String() string {
	if p.Backup == "" {
		return fmt.Sprintf("%s: %s: %s", p.Partition, p.Kind, p.Text)
	}
	return fmt.Sprintf("%s:%s: %s: %s", p.Partition, p.Backup, p.Kind, p.Text)
}
