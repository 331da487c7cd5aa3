package cmdline

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// example has an option of each kind.
func example() (*Program, *string) {
	p := New("sieve", "[OPTION...] COMMAND")
	p.Verbs = []Verb{{"shake", "[-t[HOURS]]", "shake it"}, {"count", "GRAIN...", "count the grains of each kind, one kind in each line, with the largest first"}}
	config := new(string)
	p.Group("What", func(f *pflag.FlagSet) {
		f.IntP("stale", "t", -1, "only grains older than `HOURS`")
		f.Lookup("stale").NoOptDefVal = "24"
		f.String("way", "fast", "go that `WAY`")
		f.CountP("verbose", "v", "print more")
	})
	p.Group("General", func(f *pflag.FlagSet) {
		f.StringVarP(config, "config", "C", "/etc/imapd.conf", "read `FILE`")
		p.About(f)
	})
	p.Examples = []string{"sieve shake"}
	return p, config
}

func TestHelp(t *testing.T) {
	p, _ := example()
	var out strings.Builder
	if done, err := p.Parse(t.Context(), []string{"shake", "--help"}, &out); !done || err != nil {
		t.Fatal(done, err)
	}
	want := `usage: sieve [OPTION...] COMMAND

Commands:
  shake [-t[HOURS]]        shake it
  count GRAIN...           count the grains of each kind, one kind in each
                           line, with the largest first

What:
  -t, --stale[=HOURS]      only grains older than HOURS
      --way WAY            go that WAY (default fast)
  -v, --verbose            print more

General:
  -C, --config FILE        read FILE (default /etc/imapd.conf)
  -h, --help               print this text and exit
      --version            print the version and exit
      --completion SHELL   print a script that lets SHELL (bash, zsh or fish)
                           complete command lines, and exit

Examples:
  sieve shake
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}

// -h means help only if the program has no other use for it.
func TestHelpLetterCanBeUsedOtherwise(t *testing.T) {
	p := New("sieve")
	p.Group("General", func(f *pflag.FlagSet) {
		f.BoolP("human", "h", false, "")
		p.About(f)
	})
	if done, err := p.Parse(t.Context(), []string{"-h"}, nil); done || err != nil {
		t.Error(done, err)
	}
}

func TestParse(t *testing.T) {
	p, config := example()
	done, err := p.Parse(t.Context(), []string{"-C", "x", "a", "--", "-b"}, nil)
	if done || err != nil || *config != "x" || !p.Changed("config") || p.Changed("way") || p.ArgsLenAtDash() != 1 {
		t.Error(done, err, *config)
	}
	if d := cmp.Diff([]string{"a", "-b"}, p.Args()); d != "" {
		t.Error(d)
	}
	if _, err := p.Parse(t.Context(), []string{"--nothing"}, nil); err == nil {
		t.Error("an unknown option was taken")
	}
}

// The answers for completion scripts, in cobra's form: a line for each word, then a line with a
// number; 4 means "no files".
func TestComplete(t *testing.T) {
	for argv, want := range map[string]string{
		"--w":            "--way\tgo that WAY (default fast)\n:4\n",
		"--way |":        "slow\nfast\n:4\n",
		"-C |":           ":0\n",
		"--completion |": "bash\nzsh\nfish\n:4\n",
		"--stale=|":      ":4\n",
		"|":              "shake\ncount\n:4\n",
	} {
		p, _ := example()
		p.Arguments = Words("shake", "count")
		p.Values = map[string]cobra.CompletionFunc{"way": Words("slow", "fast")}
		var out strings.Builder
		args := strings.Split(strings.TrimSuffix(argv, "|"), " ")
		if done, err := p.Parse(t.Context(), append([]string{"__complete"}, args...), &out); !done || err != nil {
			t.Error(argv, done, err)
		}
		if d := cmp.Diff(want, out.String()); d != "" {
			t.Errorf("%s: %s", argv, d)
		}
	}
}

func TestScripts(t *testing.T) {
	for shell, want := range map[string]string{"bash": "complete -o default -F __start_sieve sieve", "zsh": "#compdef sieve", "fish": "complete -c sieve"} {
		p, _ := example()
		var out strings.Builder
		if done, err := p.Parse(t.Context(), []string{"--completion", shell}, &out); !done || err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v, %v: %.200s", shell, done, err, out.String())
		}
	}
	p, _ := example()
	if _, err := p.Parse(t.Context(), []string{"--completion", "csh"}, &strings.Builder{}); err == nil {
		t.Error("csh was taken")
	}
}
