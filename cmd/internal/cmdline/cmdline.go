// Package cmdline describes the command lines of our programs. What --help says, the
// manual pages and what the shells complete are all made of that one description.
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
	Synopsis []string // the ways to call it: what stands behind the name
	Verbs    []Verb   // its commands, if it has any
	Notes    string   // lines that --help has behind the options
	Exit     []Status
	Examples []string // whole command lines
	// Arguments proposes what can stand behind the arguments; nil: files.
	Arguments cobra.CompletionFunc
	// Values proposes the values of options. Options that are not in it take files where
	// their value is called FILE or DIR, otherwise nothing can be proposed.
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

// Status is what the program's exit status says.
type Status struct {
	Code int
	Text string
}

// group is a set of options under a title.
type group struct {
	title string
	flags *pflag.FlagSet
}

// New is a program without options.
func New(name string, synopsis ...string) *Program {
	p := &Program{Name: name, Synopsis: synopsis, flags: pflag.NewFlagSet(name, pflag.ContinueOnError)}
	p.flags.SetOutput(io.Discard)
	p.flags.Usage = func() {}
	return p
}

// Group adds options that belong together. In their usage texts the name of the value
// stands in back quotes.
func (p *Program) Group(title string, define func(*pflag.FlagSet)) {
	f := pflag.NewFlagSet(title, pflag.ContinueOnError)
	f.SortFlags = false
	define(f)
	p.groups = append(p.groups, group{title, f})
	p.flags.AddFlagSet(f)
}

// About adds the options that every program has to its last group.
func (p *Program) About(f *pflag.FlagSet) {
	short := "h"
	if p.flags.ShorthandLookup("h") != nil || f.ShorthandLookup("h") != nil {
		short = ""
	}
	f.BoolVarP(&p.help, "help", short, false, "print this text and exit")
	f.BoolVar(&p.showVersion, "version", false, "print the version and exit")
	f.StringVar(&p.completion, "completion", "", "print a script that lets `SHELL` (bash, zsh or fish) complete command lines, and exit")
}

// Parse reads the arguments behind the program's name. It is done where the command line
// asks for what About offers: that has been written to out then.
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

// Args are the arguments that are no options.
func (p *Program) Args() []string { return p.flags.Args() }

// ArgsLenAtDash is how many of them stand before --; -1: there is no --.
func (p *Program) ArgsLenAtDash() int { return p.flags.ArgsLenAtDash() }

// Changed says whether the command line has an option, by its long name.
func (p *Program) Changed(option string) bool { return p.flags.Changed(option) }
