package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// parsers are the packages that parse, with their fuzz targets, or else the reason why they have none.
var parsers = map[string]string{
	"cmd/internal/backupd":                       "none: its own state, in a directory that only its user can write",
	"cmd/internal/cmdline":                       "none: arguments, by pflag",
	"cmd/internal/ctlbackups":                    "none: answers of the daemon, over a socket of the same user",
	"cmd/internal/ctlbackups/internal/cyrusdata": "FuzzRead",
	"cmd/internal/ctlbackups/internal/sasldb":    "FuzzRead",
	"cmd/internal/doctor":                        "FuzzCyrusConf",
	"cmd/internal/drill":                         "none: files that the drill itself has restored; replies of a server are read by replication/client",
	"cmd/internal/prices":                        "FuzzParse",
	"cmd/internal/replay/internal/source":        "FuzzMbox FuzzMaildir FuzzGen",
	"cmd/internal/restore":                       "FuzzResume FuzzArguments",
	"cmd/internal/syncport":                      "none: arguments of the command line, and certificates, by crypto/x509",
	"internal/control":                           "none: requests of the same user or root, of limited length",
	"internal/cyrus":                             "FuzzRecord FuzzRecordJSON FuzzMailbox FuzzNames FuzzGUID",
	"internal/cyrus/dlist":                       "FuzzDecode",
	"internal/cyrus/exactjson":                   "none: FuzzScan of partitions/history compares it with encoding/json",
	"internal/handover":                          "none: messages of processes of the same user",
	"internal/imapconf":                          "FuzzParse",
	"internal/mailtext":                          "FuzzHeader FuzzWords",
	"internal/restore":                           "none: frames of packs, whose targets are those of objstore/pack",
	"internal/restore/files":                     "FuzzExisting",
	"internal/restore/imapdest":                  "FuzzJournal FuzzParseLocation",
	"internal/restore/jsonl":                     "FuzzRead",
	"internal/restore/filename":                  "FuzzPath",
	"internal/ristretto/z":                       "none: a copy of a library; nothing calls its parsers",
	"internal/scopes":                            "FuzzRead",
	"internal/syslog":                            "none: a word of a list",
	"internal/timespec":                          "FuzzParse",
	"internal/tlsconf":                           "none: words of a list; certificates, by crypto/tls",
	"internal/visible":                           "FuzzJSON",
	"objstore":                                   "FuzzParseLocation",
	"objstore/internal/s3keys":                   "FuzzProfiles",
	"objstore/internal/s3wire":                   "FuzzContentRange",
	"objstore/pack":                              "FuzzReadDirectory FuzzScan FuzzOpenEntry FuzzParseName",
	"partitions":                                 "none: values of the local index, whose common kinds are in indexvalue",
	"partitions/attestation":                     "FuzzList FuzzSignature",
	"partitions/collection":                      "FuzzUses FuzzRegister FuzzTotals FuzzCache FuzzPack",
	"partitions/erasure":                         "FuzzPacks",
	"partitions/history":                         "FuzzCommit FuzzSegment FuzzCheckpoint FuzzMoved FuzzCondemned FuzzKeys FuzzParseEvent FuzzScan",
	"partitions/indexvalue":                      "FuzzParse",
	"partitions/repository":                      "FuzzInfo FuzzBackupInfo FuzzLock FuzzHolds FuzzContact FuzzRun FuzzCycle FuzzAside FuzzErasure FuzzTotals FuzzNameOf FuzzKnown",
	"partitions/tripwire":                        "FuzzParse",
	"replication":                                "FuzzConn",
	"replication/client":                         "FuzzReply",
	"replication/client/fakeserver":              "none: a server for tests",
	"replication/replicationtest":                "none: for tests",
	"replication/sasl":                           "FuzzNext FuzzCredentials FuzzAnswer FuzzUserNames",
}

var (
	parses     = regexp.MustCompile(`json\.(Unmarshal|NewDecoder)|bufio\.NewScanner|(zstd|flate|gzip)\.NewReader|(?m)^func (\([^)]*\) )?([pP]arse|[dD]ecode|Unmarshal)[A-Za-z]*\(`)
	fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz[A-Za-z0-9]+)\(`)
)

// A package that parses has a fuzz target, or the list has a reason. Each target is in the list.
func TestParsersHaveFuzzTargets(t *testing.T) {
	parsing, targets := sources(t)
	for dir := range parsing {
		if parsers[dir] == "" {
			t.Errorf("%s parses, and is not in the list: add a fuzz target, or the reason why it needs none", dir)
		}
	}
	for dir, listed := range parsers {
		if strings.HasPrefix(listed, "none: ") {
			listed = ""
		}
		if got := strings.Join(targets[dir], " "); !sameWords(got, listed) {
			t.Errorf("%s has the targets %q, and the list %q", dir, got, listed)
		}
		delete(targets, dir)
	}
	for dir, more := range targets {
		t.Errorf("%s is not in the list: %q", dir, more)
	}
}

func sameWords(a, b string) bool {
	words := func(s string) map[string]bool {
		m := map[string]bool{}
		for w := range strings.FieldsSeq(s) {
			m[w] = true
		}
		return m
	}
	x, y := words(a), words(b)
	for w := range x {
		if !y[w] {
			return false
		}
	}
	return len(x) == len(y)
}

// sources returns the packages that parse, and the fuzz targets of all packages.
func sources(t *testing.T) (parsing map[string]bool, targets map[string][]string) {
	t.Helper()
	parsing, targets = map[string]bool{}, map[string][]string{}
	for _, top := range []string{"partitions", "objstore", "internal", "index", "cmd", "replication"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			text, err := os.ReadFile(path)
			dir := filepath.ToSlash(filepath.Dir(strings.TrimPrefix(path, ".."+string(filepath.Separator))))
			switch {
			case !strings.HasSuffix(path, "_test.go"):
				parsing[dir] = parsing[dir] || parses.Match(text)
			default:
				for _, m := range fuzzTarget.FindAllSubmatch(text, -1) {
					targets[dir] = append(targets[dir], string(m[1]))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for dir, yes := range parsing {
		if !yes {
			delete(parsing, dir)
		}
	}
	return parsing, targets
}
