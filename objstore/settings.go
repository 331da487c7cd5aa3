package objstore

import (
	"context"
	"strings"
	"time"
)

// Inspector is a Store that can report the settings of its bucket, for administrators. Both S3
// drivers are Inspectors.
type Inspector interface {
	// Keys reports where the keys come from, and when they expire.
	Keys(ctx context.Context) (Keys, error)
	// Settings reads the settings of the bucket. Each part has its own error, because each needs a
	// separate permission: ErrDenied, or ErrUnsupported.
	Settings(ctx context.Context) Settings
	// MayDelete reports whether the keys may delete an object with this key, and a version of it for
	// good. The object must not exist: nothing is removed, and no version is made.
	MayDelete(ctx context.Context, key string, versioned bool) (bool, error)
}

// Keys describe the keys of a bucket.
type Keys struct {
	Origin  string    // for people: the file and profile, or the variable
	Expires time.Time // zero: never, or unknown
	Session bool      // they have a session token, and so an end
	Renewed bool      // the driver gets new ones by itself: those of a role, for example
}

// Versioning is the state of versioning in a bucket.
type Versioning string

// The states of versioning.
const (
	Unversioned         Versioning = ""
	Versioned           Versioning = "Enabled"
	VersioningSuspended Versioning = "Suspended"
)

// Settings are the settings of a bucket that decide what becomes of its objects.
type Settings struct {
	Versioning    Versioning
	VersioningErr error
	Locked        bool   // Object Lock is on
	Retention     string // its default retention, such as COMPLIANCE 30 days; "" = none
	LockErr       error
	Rules         []LifecycleRule // without disabled ones
	RulesErr      error
}

// LifecycleRule is a rule by which the store itself removes or moves objects.
type LifecycleRule struct {
	ID, Prefix string
	Tagged     bool   // only for objects with certain tags, which ours do not have
	Expires    bool   // removes current objects
	EndsOld    bool   // removes noncurrent versions
	MovesTo    string // storage class; "" = stays
}

// Covers reports whether the rule can apply to an object below a prefix of keys.
func (r LifecycleRule) Covers(prefix string) bool {
	return !r.Tagged && (strings.HasPrefix(r.Prefix, prefix) || strings.HasPrefix(prefix, r.Prefix))
}
