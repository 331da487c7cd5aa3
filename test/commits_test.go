package test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// firstChecked is the last commit from before the rule: those after it are checked.
const firstChecked = "04cf7a30ddb491e53fd5a3eb47527a9c3cab7a92"

// maxSubject is the length at which git and its tools cut a subject.
const maxSubject = 72

// subject is "where: what"; where may be several places. What begins with a small letter,
// unless it is a name.
var subject = regexp.MustCompile(`^[^ :][^:]*: \S.*[^.]$`)

// notImperative finds a first word in another form: "fixed", "fixing".
var notImperative = regexp.MustCompile(`^[^:]*: (\w+[^e]ed|\w{3,}ing|adds|fixes|moves|removes|renames|rewrites) `)

// TestCommitSubjects checks the subjects of new commits (CONTRIBUTING.md, "Commits").
func TestCommitSubjects(t *testing.T) {
	if err := exec.CommandContext(t.Context(), "git", "merge-base", "--is-ancestor", firstChecked, "HEAD").Run(); err != nil {
		t.Skip("no git repository, or a shallow one")
	}
	out, err := exec.CommandContext(t.Context(), "git", "log", "--no-merges", "--format=%h %s", firstChecked+"..HEAD").Output()
	if err != nil {
		t.Fatalf("git log: %v\n%s", err, stderr(err))
	}
	for line := range strings.Lines(string(out)) {
		hash, s, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		for _, why := range wrongSubject(s) {
			t.Errorf("%s %s: %s", hash, s, why)
		}
	}
}

func TestWrongSubject(t *testing.T) {
	for s, want := range map[string]int{
		"verify: report commits missing from the start of the log": 0,
		"a lock is not lost because the answer was":                1,
		"verify: report commits.":                                  1,
		"verify: fixed the report of commits":                      1,
		"verify: adding " + strings.Repeat("x", maxSubject):        2,
	} {
		if got := wrongSubject(s); len(got) != want {
			t.Errorf("%s: %q, want %d", s, got, want)
		}
	}
}

// wrongSubject returns the reasons why a subject does not follow the rule.
func wrongSubject(s string) (why []string) {
	if utf8.RuneCountInString(s) > maxSubject {
		why = append(why, "longer than 72 characters")
	}
	if !subject.MatchString(s) {
		why = append(why, `want "where: what", without a full stop`)
	}
	if notImperative.MatchString(s) {
		why = append(why, "want the imperative")
	}
	return why
}
