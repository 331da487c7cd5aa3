// Package test holds checks of the source tree itself.
package test

import (
	"bytes"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cyrusbackup/backupd/"

// A rule says what the packages below one path must not reach, directly or through others
// (docs/design.md, "Who may import whom"). Paths name a package and everything below it.
type rule struct {
	from   string
	but    []string // below from, but with separate rules
	not    []string
	except []string // below a path in not, but allowed
}

var rules = []rule{
	// wire code never sees a bucket
	{from: "replication", not: []string{"objstore", "index", "partitions", "cmd"}},
	{from: "replication/sasl", not: []string{"replication", "internal"}},
	// storage code never sees a socket
	{from: "partitions", not: []string{"replication", "cmd"}},
	// a bucket is read without the index
	{from: "partitions/repository", not: []string{"index", "partitions"}, except: []string{"partitions/history", "partitions/storeclock"}},
	{from: "partitions/verify", not: []string{"index", "partitions"},
		except: []string{"partitions/history", "partitions/repository", "partitions/storeclock"}},
	{from: "partitions/transfer", not: []string{"index", "partitions"},
		except: []string{"partitions/history", "partitions/repository", "partitions/storeclock"}},
	{from: "partitions/maintenance", not: []string{"index", "partitions"},
		except: []string{"partitions/history", "partitions/packing", "partitions/repository", "partitions/storeclock"}},
	{from: "partitions/collection", not: []string{"index", "partitions"},
		except: []string{"partitions/history", "partitions/packing", "partitions/repository", "partitions/storeclock"}},
	{from: "partitions/erasure", not: []string{"index", "partitions"},
		except: []string{"partitions/history", "partitions/repository", "partitions/storeclock", "partitions/collection", "partitions/maintenance", "partitions/packing"}},
	{from: "partitions/attestation", not: []string{"index", "partitions"},
		except: []string{"partitions/history", "partitions/repository", "partitions/storeclock"}},
	{from: "partitions/tripwire", not: []string{"index", "partitions"},
		except: []string{"partitions/history", "partitions/repository", "partitions/storeclock"}},
	{from: "partitions/packing", not: []string{"index", "partitions"}, except: []string{"partitions/history"}},
	{from: "partitions/history", not: []string{"index", "partitions"}},
	{from: "partitions/storeclock", not: []string{"index", "partitions"}},
	{from: "cmd/cyr_backup", not: engine},
	{from: "cmd/restore", not: engine},
	{from: "index", not: []string{"objstore", "partitions", "replication", "internal", "cmd"},
		except: []string{"internal/cyrus"}},
	{from: "objstore", not: []string{"index", "partitions", "replication", "internal", "cmd"}},
	{from: "objstore/pack", not: []string{"objstore"}},
	{from: "internal", but: []string{"internal/restore", "internal/saslconf"},
		not: []string{"objstore", "index", "partitions", "replication", "cmd"}},
	// restoring reads history and speaks to mail servers; the store is handed to it
	// (restoretest makes repositories for its tests)
	{from: "internal/restore", but: []string{"internal/restore/restoretest"},
		not: []string{"index", "partitions", "cmd"}, except: []string{"partitions/history"}},
	{from: "internal/restore", not: drivers},
	{from: "internal/saslconf", not: []string{"objstore", "index", "partitions", "cmd"}},
	// values and syntax depend on nothing
	{from: "internal/cyrus", not: []string{"replication", "internal"}},
	// only a program names the drivers that it is built with
	{from: "partitions", not: drivers},
	{from: "index", not: drivers},
	{from: "replication", not: drivers},
}

// engine is what a program that only reads buckets must not link.
var engine = []string{"index"}

// programs are what the commands call. None imports another; cmd/internal/programs has all.
var programs = []string{"cmd/internal/backupd", "cmd/internal/ctlbackups", "cmd/internal/cyrbackup",
	"cmd/internal/replay", "cmd/internal/restore"}

func programRules() []rule {
	rules := []rule{
		{from: "cmd/internal/cli", not: programs},
		{from: "cmd/internal/cmdline", not: programs},
		{from: "cmd/internal/manpage", not: programs},
		{from: "cmd/internal/stores", not: programs},
		{from: "cmd/internal/tooltest", not: programs},
	}
	for _, p := range programs {
		rules = append(rules, rule{from: p, not: append([]string{"cmd/internal/programs"}, programs...)})
	}
	return rules
}

var drivers = []string{"objstore/dirstore", "objstore/awsstore", "objstore/miniostore"}

// SDKs stay behind the one package that speaks to them.
var libraries = map[string][]string{
	"github.com/dgraph-io/badger":  {"index", "cmd"},
	"github.com/aws/aws-sdk-go-v2": {"objstore", "cmd"},
	"github.com/minio/minio-go":    {"objstore", "cmd"},
	"github.com/prometheus":        {"cmd"},
	"aead.dev/minisign":            {"partitions/attestation"},
}

// unlinked libraries are not in these programs, whatever they import.
var unlinked = map[string][]string{
	"cmd/cyr_backup":         {"github.com/dgraph-io/badger", "github.com/prometheus"},
	"cmd/restore":            {"github.com/dgraph-io/badger", "github.com/prometheus"},
	"cmd/internal/cyrbackup": {"github.com/dgraph-io/badger", "github.com/prometheus"},
	"cmd/internal/restore":   {"github.com/dgraph-io/badger", "github.com/prometheus"},
}

func below(pkg, path string) bool { return pkg == path || strings.HasPrefix(pkg, path+"/") }

func anyBelow(pkg string, paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return below(pkg, p) })
}

func TestImports(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f",
		`{{.ImportPath}} {{join .Deps " "}}|{{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr(err))
	}
	rules := append(rules, programRules()...)
	for line := range strings.Lines(string(out)) {
		all, direct, _ := strings.Cut(strings.TrimSpace(line), "|")
		pkg, deps, _ := strings.Cut(all, " ")
		pkg = strings.TrimPrefix(pkg, module)
		for dep := range strings.FieldsSeq(deps) {
			for _, lib := range unlinked[pkg] {
				if strings.HasPrefix(dep, lib) {
					t.Errorf("%s links %s", pkg, dep)
				}
			}
			dep, ours := strings.CutPrefix(dep, module)
			for _, r := range rules {
				if ours && below(pkg, r.from) && !anyBelow(pkg, r.but) && anyBelow(dep, r.not) &&
					!anyBelow(dep, r.except) && !below(dep, r.from) {
					t.Errorf("%s reaches %s", pkg, dep)
				}
			}
		}
		for dep := range strings.FieldsSeq(direct) {
			for lib, users := range libraries {
				if strings.HasPrefix(dep, lib) && !anyBelow(pkg, users) {
					t.Errorf("%s imports %s", pkg, dep)
				}
			}
		}
	}
}

func TestGofmt(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "gofmt", "-l", "..").Output()
	if err != nil {
		t.Fatalf("gofmt: %v\n%s", err, stderr(err))
	}
	if len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("gofmt -w is due for:\n%s", out)
	}
}

func stderr(err error) []byte {
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		return e.Stderr
	}
	return nil
}
