// Package cmdline describes the command lines of our programs. --help, the manual pages and
// shell completion are all generated from that description.
package cmdline

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cyrusbackup/backupd/internal/version"
)

// Program is a program's command line.
type Program struct {
	Name     string
	Synopsis []string // the ways to call it, without the name
	Verbs    []Verb   // its commands, if any
	Notes    string   // lines of --help after the options
	Exit     []Status
	Examples []string // whole command lines
	// Arguments proposes the next argument; nil: files.
	Arguments cobra.CompletionFunc
	// Values proposes the values of options. Other options propose files if their value is
	// called FILE or DIR, and nothing otherwise.
	Values map[string]cobra.CompletionFunc

	flags             *pflag.FlagSet
	groups            []group
	help, showVersion bool
	completion        string
}

// Verb is a command of a program.
type Verb struct {
	Name string
	Args string // as in a synopsis
	Text string // a sentence without its full stop
}

// Status describes an exit status.
type Status struct {
	Code int
	Text string
}

// group is a set of options under a title.
type group struct {
	title string
	flags *pflag.FlagSet
}

// New returns a program without options.
func New(name string, synopsis ...string) *Program {
	p := &Program{Name: name, Synopsis: synopsis, flags: pflag.NewFlagSet(name, pflag.ContinueOnError)}
	p.flags.SetOutput(io.Discard)
	p.flags.Usage = func() {}
	return p
}

// Group adds a titled group of options. Back quotes in a usage text mark the name of the
// value.
func (p *Program) Group(title string, define func(*pflag.FlagSet)) {
	f := pflag.NewFlagSet(title, pflag.ContinueOnError)
	f.SortFlags = false
	define(f)
	p.groups = append(p.groups, group{title, f})
	p.flags.AddFlagSet(f)
}

// About adds the options common to all programs, to the last group.
func (p *Program) About(f *pflag.FlagSet) {
	short := "h"
	if p.flags.ShorthandLookup("h") != nil || f.ShorthandLookup("h") != nil {
		short = ""
	}
	f.BoolVarP(&p.help, "help", short, false, "print this text and exit")
	f.BoolVar(&p.showVersion, "version", false, "print the version and exit")
	f.StringVar(&p.completion, "completion", "", "print a script that lets `SHELL` (bash, zsh or fish) complete command lines, and exit")
}

// Parse parses the arguments after the program's name. done reports that an option of About
// was given, and its text was written to out.
func (p *Program) Parse(ctx context.Context, argv []string, out io.Writer) (done bool, err error) {
	if len(argv) > 0 && (argv[0] == cobra.ShellCompRequestCmd || argv[0] == cobra.ShellCompNoDescRequestCmd) {
		return true, p.complete(ctx, argv, out)
	}
	if err := p.flags.Parse(argv); err != nil {
		return false, err
	}
	switch {
	case p.help:
		_, err = io.WriteString(out, p.Help())
	case p.showVersion:
		_, err = fmt.Fprintln(out, p.Name, version.Number())
	case p.flags.Changed("completion"):
		err = p.script(p.completion, out)
		done := !errors.Is(err, errShell)
		return done, err
	default:
		return false, nil
	}
	return true, err
}

// Args returns the arguments that are not options.
func (p *Program) Args() []string { return p.flags.Args() }

// ArgsLenAtDash returns the number of Args before --, or -1 without --.
func (p *Program) ArgsLenAtDash() int { return p.flags.ArgsLenAtDash() }

// Changed reports whether the command line has an option, named by its long name.
func (p *Program) Changed(option string) bool { return p.flags.Changed(option) }
