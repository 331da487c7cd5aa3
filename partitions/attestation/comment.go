package attestation

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Reference names a list.
type Reference struct {
	Number uint64 `json:"number"`
	SHA256 string `json:"sha256"` // of its bytes
}

// Comment is the trusted comment of a signature. It is signed, and describes the list, so that the chain of lists can
// be followed without reading them.
type Comment struct {
	List       Reference
	Bytes      int64      // size of the list
	Previous   *Reference // the list before; nil = this is the first one
	Repository string     // id of the repository
	Time       time.Time  // when the list was begun, to the second
	Backups    int        // in the list
	Findings   int        // in the list: all that nothing explains, and that nobody has accepted
}

const commentTitle = "backupd list"

// none is the text of a Reference to no list.
const none = "none"

// String returns the comment as one line.
func (c Comment) String() string {
	previous := none
	if c.Previous != nil {
		previous = fmt.Sprintf("%d:%s", c.Previous.Number, c.Previous.SHA256)
	}
	return fmt.Sprintf("%s version=%d number=%d sha256=%s bytes=%d previous=%s repository=%s time=%s backups=%d findings=%d", commentTitle, Version,
		c.List.Number, c.List.SHA256, c.Bytes, previous, c.Repository, c.Time.UTC().Format(time.RFC3339), c.Backups, c.Findings)
}

var errComment = errors.New("the trusted comment is not that of a list")

// ParseComment is the inverse of String. It accepts only the exact form. The error is repository.ErrVersion if a newer
// program has written it.
func ParseComment(text string) (Comment, error) {
	var c Comment
	words := strings.Split(text, " ")
	if len(words) < 3 || strings.Join(words[:2], " ") != commentTitle {
		return c, errComment
	}
	if version, ok := strings.CutPrefix(words[2], "version="); ok && version != strconv.Itoa(Version) {
		return c, fmt.Errorf("version %.20q, this program supports version %d: use a newer version of this program: %w", version, Version, repository.ErrVersion)
	}
	if len(words) != 11 {
		return c, errComment
	}
	words = append(words[:2:2], words[3:]...)
	value := func(i int, name string) string {
		v, ok := strings.CutPrefix(words[i], name+"=")
		if !ok {
			return ""
		}
		return v
	}
	var errs [5]error
	c.List.Number, errs[0] = strconv.ParseUint(value(2, "number"), 10, 64)
	c.List.SHA256 = value(3, "sha256")
	c.Bytes, errs[1] = strconv.ParseInt(value(4, "bytes"), 10, 64)
	if before := value(5, "previous"); before != none {
		number, sum, _ := strings.Cut(before, ":")
		c.Previous = &Reference{SHA256: sum}
		c.Previous.Number, errs[2] = strconv.ParseUint(number, 10, 64)
	}
	c.Repository = value(6, "repository")
	c.Time, errs[3] = time.Parse(time.RFC3339, value(7, "time"))
	c.Backups, errs[4] = strconv.Atoi(value(8, "backups"))
	findings, err := strconv.Atoi(value(9, "findings"))
	c.Findings = findings
	if err := errors.Join(append(errs[:], err)...); err != nil || c.String() != text {
		return Comment{}, errComment
	}
	return c, c.check()
}

// check returns an error if none of our programs has written this.
func (c *Comment) check() error {
	switch {
	case !c.List.valid(), c.Bytes <= 0, c.Backups < 0, c.Findings < 0,
		c.Previous != nil && (!c.Previous.valid() || c.Previous.Number >= c.List.Number):
		return errComment
	}
	return nil
}

func (r *Reference) valid() bool {
	return r.Number > 0 && r.Number <= maxNumber && isHash(r.SHA256)
}
