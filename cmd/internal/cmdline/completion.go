package cmdline

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Words proposes a fixed list of words.
func Words(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// errShell reports a shell without a script.
var errShell = errors.New("the shell must be bash, zsh or fish")

// script writes the completion script of a shell. The script calls the program with cobra's
// command __complete.
func (p *Program) script(shell string, out io.Writer) error {
	switch shell {
	case "bash":
		return p.command().GenBashCompletionV2(out, true)
	case "zsh":
		return p.command().GenZshCompletion(out)
	case "fish":
		return p.command().GenFishCompletion(out, true)
	}
	return fmt.Errorf("--completion %s: %w", shell, errShell)
}

// complete answers a call of a completion script.
func (p *Program) complete(ctx context.Context, argv []string, out io.Writer) error {
	cmd := p.command()
	cmd.SetArgs(argv)
	cmd.SetOut(out)
	cmd.SetErr(io.Discard)
	return cmd.ExecuteContext(ctx)
}

// command returns the program as a cobra command, for completion only.
func (p *Program) command() *cobra.Command {
	cmd := &cobra.Command{Use: p.Name, ValidArgsFunction: p.Arguments, Run: func(*cobra.Command, []string) {}}
	p.flags.VisitAll(func(f *pflag.Flag) {
		shown := *f
		shown.Usage = describe(f).Text
		cmd.Flags().AddFlag(&shown)
		if propose := p.proposer(f); propose != nil {
			// The only errors are a second registration and an unknown option.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, propose)
		}
	})
	return cmd
}

// proposer returns the function that proposes the values of an option; nil: files.
func (p *Program) proposer(f *pflag.Flag) cobra.CompletionFunc {
	value := describe(f).Value
	switch propose, ok := p.Values[f.Name]; {
	case ok:
		return propose
	case f.Name == "completion":
		return Words("bash", "zsh", "fish")
	case value == "FILE" || value == "DIR":
		return nil
	}
	return cobra.NoFileCompletions
}
