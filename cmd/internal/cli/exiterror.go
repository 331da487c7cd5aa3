package cli

import "fmt"

// Exit statuses of a command that checks something, for monitoring.
const (
	ExitWarning  = 1
	ExitCritical = 2
)

// ExitError ends a program with this exit status, without a message: the command has printed
// everything.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
