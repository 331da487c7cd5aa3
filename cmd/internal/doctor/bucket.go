package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
)

// nothing is the name of an object that never exists, to try whether the keys may delete.
const nothing = "doctor-tries-to-delete"

// bucket checks a bucket with the keys of the daemon.
func (p *partitionCheck) bucket(ctx context.Context) {
	n := len(p.all)
	if !p.endpoint(ctx) {
		return
	}
	inspector, err := stores.Inspect(ctx, p.conf, p.name, p.at)
	if err != nil {
		where, text, _ := located(err)
		p.fail(where, "set backup_credentials_file, and write the keys into that file: see \"Keys of the bucket\" in administration.md", "%s", text)
		return
	}
	if !p.keys(ctx, inspector) || !p.reachable(ctx) || !p.tried(ctx, inspector) {
		return
	}
	settings := inspector.Settings(ctx)
	p.deletion(ctx, inspector, settings)
	p.versions(settings)
	p.lifecycle(settings)
	p.repository(ctx)
	if p.sound(n) {
		p.ok(p.at.String(), "the keys can put, get and list, and cannot destroy backups")
	}
}

// keys checks where the keys come from, and how long they are valid.
func (p *partitionCheck) keys(ctx context.Context, inspector objstore.Inspector) bool {
	k, err := inspector.Keys(ctx)
	const fix = "give the daemon keys without an end, or a role of the host, which is renewed by itself"
	switch left := k.Expires.Sub(p.Now()); {
	case err != nil:
		p.fail(p.where, "set backup_credentials_file", "no keys: %v", err)
		return false
	case !k.Expires.IsZero() && left < 0:
		p.fail(k.Origin, fix, "the keys have expired at %s", stamp(k.Expires))
		return false
	case !k.Expires.IsZero() && left < 48*time.Hour && !k.Renewed:
		p.warn(k.Origin, fix, "the keys expire at %s", stamp(k.Expires))
	case k.Session && k.Expires.IsZero() && !k.Renewed:
		p.warn(k.Origin, fix, "the keys have a session token, and so an end")
	default:
		p.ok(k.Origin, "the keys come from here")
	}
	if variable, _, ok := strings.Cut(k.Origin, " of the environment"); ok && !p.Facts.inShell(variable) {
		p.warn(k.Origin, "set backup_credentials_file, for the daemon and the tools", "the daemon has %s in its environment, and this shell does not: tools cannot use its keys", variable)
	}
	if left := p.Facts.onlyInShell(); len(left) > 0 && p.conf.String("backup_credentials_file") == "" {
		p.warn(p.where, "set backup_credentials_file, for the daemon and the tools", "this shell has %s, and the daemon does not: it uses other keys than the tools", strings.Join(left, ", "))
	}
	return true
}

// reachable lists one object, which fails if the bucket, the keys or the network are wrong.
func (p *partitionCheck) reachable(ctx context.Context) bool {
	part, closer, err := stores.OpenOne(ctx, p.name, p.at, p.storeOptions())
	if err != nil {
		p.fail(p.where, "correct the location", "%v", err)
		return false
	}
	defer closer.Close()
	for _, err := range part.Store.List(ctx, "", "") {
		if err != nil {
			p.refused(err)
			return false
		}
		break
	}
	return true
}

// refused adds the finding for an error of the store.
func (p *partitionCheck) refused(err error) {
	arn := "arn:aws:s3:::" + p.at.Bucket
	var fix string
	switch {
	case errors.Is(err, objstore.ErrCredentials):
		fix = "write valid keys into the file; they take effect at once"
	case errors.Is(err, objstore.ErrDenied):
		fix = "allow s3:ListBucket on " + arn + ", and s3:GetObject and s3:PutObject on " + arn + p.below("*")
	case errors.Is(err, objstore.ErrNoBucket):
		fix = "create the bucket: aws s3 mb s3://" + p.at.Bucket + ", or mc mb"
	case p.at.Scheme == objstore.MinIO && p.at.TLS && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		fix = "add ?tls=no to the location, or give the store a certificate"
	default:
		fix = unreachable
	}
	p.fail(p.where, fix, "%v", err)
}

// below returns the part of a resource name for keys of the partition.
func (p *partitionCheck) below(key string) string {
	if p.at.Prefix == "" {
		return "/" + key
	}
	return "/" + p.at.Prefix + "/" + key
}

// tried runs the probe of the store's capabilities. It reports whether the store works.
func (p *partitionCheck) tried(ctx context.Context, inspector objstore.Inspector) bool {
	part, closer, err := stores.OpenOne(ctx, p.name, p.at, p.storeOptions())
	if err != nil {
		p.fail(p.where, "correct the location", "%v", err)
		return false
	}
	defer closer.Close()
	run := probe.Run
	may, err := inspector.MayDelete(ctx, strings.TrimPrefix(p.below(probe.Dir+"/"+nothing), "/"), false)
	if err == nil && !may {
		run = probe.Keeping
		p.warn(p.where, "allow s3:DeleteObject on arn:aws:s3:::"+p.at.Bucket+p.below(probe.Dir+"/*"),
			"the keys may not delete below %s/: backupd cannot probe the store, nor begin a partition. These checks leave the object %s", probe.Dir, strings.TrimPrefix(p.below(probe.Kept), "/"))
	}
	c, err := run(ctx, part.Store, p.Now)
	if err != nil {
		p.refused(err)
		return false
	}
	p.capabilities(c)
	if c.StoreTime {
		p.clock(c.ClockSkew)
	}
	return true
}

// deletion checks that a thief of the keys could not destroy backups.
func (p *partitionCheck) deletion(ctx context.Context, inspector objstore.Inspector, s objstore.Settings) {
	versioned := s.VersioningErr == nil && s.Versioning != objstore.Unversioned
	may, err := inspector.MayDelete(ctx, strings.TrimPrefix(p.below("packs/"+nothing), "/"), versioned)
	what, action := "objects", "s3:DeleteObject"
	if versioned {
		what, action = "versions of objects", "s3:DeleteObjectVersion"
	}
	switch {
	case err != nil:
		p.refused(err)
	case may:
		p.warn(p.where, fmt.Sprintf("take %s from these keys, except for %s; give compact other keys: see \"Rights\" in administration.md", action, "arn:aws:s3:::"+p.at.Bucket+p.below(probe.Dir+"/*")),
			"the keys of the daemon may delete %s: a thief of these keys can destroy all backups", what)
	}
}

// versions checks versioning and Object Lock.
func (p *partitionCheck) versions(s objstore.Settings) {
	location := p.at.String()
	switch {
	case s.VersioningErr != nil:
		p.ok(location, "versioning was not checked: %s", short(s.VersioningErr))
	case s.Versioning == objstore.VersioningSuspended:
		p.warn(location, "aws s3api put-bucket-versioning --bucket "+p.at.Bucket+" --versioning-configuration Status=Enabled, or mc version enable", "versioning is suspended: an object that is overwritten is lost")
	case s.Versioning == objstore.Unversioned:
		p.ok(location, "no versioning: keys that may put can overwrite backups")
	default:
		p.ok(location, "versioning is on")
	}
	switch {
	case s.LockErr != nil:
		p.ok(location, "Object Lock was not checked: %s", short(s.LockErr))
	case s.Locked && s.Retention != "":
		p.ok(location, "Object Lock: %s; compact and erase free no space before", strings.ToLower(s.Retention))
	case s.Locked:
		p.warn(location, "aws s3api put-object-lock-configuration --bucket "+p.at.Bucket+" with a default retention", "Object Lock is on without a default retention: it protects nothing")
	}
}

// lifecycle checks the rules by which the store removes or moves objects.
func (p *partitionCheck) lifecycle(s objstore.Settings) {
	location := p.at.String()
	if s.RulesErr != nil {
		p.ok(location, "lifecycle rules were not checked: %s", short(s.RulesErr))
		return
	}
	objects := strings.TrimPrefix(p.below(""), "/")
	endsOld := false
	for _, r := range s.Rules {
		if !r.Covers(objects) || strings.HasPrefix(r.Prefix, objects+probe.Dir+"/") {
			continue
		}
		endsOld = endsOld || r.EndsOld
		archive := strings.Contains(r.MovesTo, "GLACIER") && r.MovesTo != "GLACIER_IR" || strings.Contains(r.MovesTo, "ARCHIVE")
		switch {
		case r.Expires:
			p.fail(location, "remove the rule, or limit it to noncurrent versions", "the lifecycle rule %q deletes objects of the backups", r.ID)
		case archive:
			p.fail(location, "remove the transition of the rule", "the lifecycle rule %q moves objects to %s, where they cannot be read", r.ID, r.MovesTo)
		case r.MovesTo != "":
			p.warn(location, "remove the transition, unless you have computed its price (ctl_backups cost)", "the lifecycle rule %q moves objects to %s: small objects and reads cost more there", r.ID, r.MovesTo)
		}
	}
	if s.Versioning == objstore.Versioned && s.VersioningErr == nil && !endsOld {
		p.warn(location, "add a rule that ends noncurrent versions after 30 days", "no lifecycle rule ends noncurrent versions: replaced and deleted objects are kept and paid for ever")
	}
}

// short is an error without the advice for the daemon.
func short(err error) string {
	if errors.Is(err, objstore.ErrDenied) {
		return "the keys have no permission for that; use those of an administrator with -C FILE"
	}
	if errors.Is(err, objstore.ErrUnsupported) {
		return "the store does not support it"
	}
	return err.Error()
}
