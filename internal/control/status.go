package control

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Status is the answer to the request status, and the content of the file that a daemon leaves at its
// end. Set is a partitions.Status.
type Status struct {
	Daemon Daemon          `json:"daemon"`
	Set    json.RawMessage `json:"set,omitempty"`
}

// Daemon describes a daemon.
type Daemon struct {
	Version     string       `json:"version"`
	PID         int          `json:"pid"`
	Since       time.Time    `json:"since"`
	Ended       time.Time    `json:"ended,omitzero"` // only in the file
	Connections []Connection `json:"connections"`
	Index       Index        `json:"index"`
	Logins      Logins       `json:"logins"`
	// Requests are those to the store of each partition since the start.
	Requests map[string]Requests `json:"requests,omitempty"`
}

// Logins are the attempts to log in since the start.
type Logins struct {
	OK     int64 `json:"ok"`
	Failed int64 `json:"failed"`
	// Recent are the failed ones of the last RecentLogins.
	Recent int64        `json:"recent"`
	Last   *FailedLogin `json:"last_failed,omitempty"`
}

// RecentLogins is the time for which Logins.Recent counts.
const RecentLogins = 30 * time.Minute

// FailedLogin is an attempt to log in that did not succeed.
type FailedLogin struct {
	At     time.Time `json:"at"`
	Host   string    `json:"host"`
	User   string    `json:"user,omitempty"` // that the client claimed
	Result string    `json:"result"`         // refused, not_admin, …, as in the metrics
}

// Requests are requests to a store, as stores charge them: each try counts.
type Requests struct {
	Put    int64 `json:"put"` // and list
	Get    int64 `json:"get"` // and head
	Delete int64 `json:"delete"`
}

// Connection is a client that is connected.
type Connection struct {
	User  string    `json:"user,omitempty"` // "" before the login
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
}

// Index describes the index of a daemon.
type Index struct {
	Open     bool  `json:"open"`
	Bytes    int64 `json:"bytes"`
	Free     int64 `json:"free"` // of its disk; -1 = unknown
	Reserve  int64 `json:"reserve"`
	SetAside int   `json:"set_aside,omitempty"` // damaged ones
}

// StatusPath is the file that a daemon leaves at its end, beside its index.
func StatusPath(index string) string { return filepath.Clean(index) + ".status" }

// WriteStatus replaces the file.
func WriteStatus(path string, s *Status) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// ReadStatus reads the file. The error matches fs.ErrNotExist if no daemon has left it.
func ReadStatus(path string) (*Status, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := new(Status)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}
