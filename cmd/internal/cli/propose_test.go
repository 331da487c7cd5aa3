package cli

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// host is an imapd.conf with three partitions: one with backups, a remote one, and one
// without a directory yet.
func host(t *testing.T) (dir, config string) {
	dir = t.TempDir()
	write := func(name, partitions string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("configdirectory: "+dir+"\n"+partitions), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	conf, err := imapconf.Load(write("near.conf", "backuppartition-near: "+dir+"/near\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	parts, closer, err := stores.Open(t.Context(), conf, stores.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	x, err := index.Open(filepath.Join(dir, "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	set, err := partitions.Open(partitions.Options{Partitions: parts, Index: x, NoCheckpoints: true})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, user := range []string{"anne", "andrew", "bob"} {
		if _, err := set.Create(t.Context(), repository.UserName(user)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, write("imapd.conf", "backuppartition-near: "+dir+"/near\nbackuppartition-new: "+dir+"/new\nbackuppartition-far: minio://192.0.2.1:9000/bucket\n")
}

func TestProposeBackups(t *testing.T) {
	dir, config := host(t)
	for _, tt := range []struct {
		mode  Mode
		begun string
		want  []string
	}{{ByUser, "an", []string{"andrew", "anne"}}, {ByUser, "x", nil}, {ByPath, "user/b", []string{"user/bob"}}} {
		got, directive := ProposeBackups(t.Context(), config, tt.mode, tt.begun)
		if d := cmp.Diff(tt.want, got); d != "" || directive != cobra.ShellCompDirectiveNoFileComp {
			t.Errorf("%s: %d, %s", tt.begun, directive, d)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a partition was made by completing a name")
	}
	if got, directive := ProposeBackups(t.Context(), "/nowhere/at/all", ByUser, ""); got != nil || directive&cobra.ShellCompDirectiveError == 0 {
		t.Error(got, directive)
	}
}

func TestProposePartitions(t *testing.T) {
	_, config := host(t)
	for begun, want := range map[string][]string{"": {"near", "new", "far"}, "ne": {"near", "new"}, "x": {}} {
		got, _ := ProposePartitions(config, begun)
		slices.Sort(got)
		slices.Sort(want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", begun, d)
		}
	}
}
