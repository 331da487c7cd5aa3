package backupd

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"regexp"
	"strconv"
)

// debugCommand fills in debug_command, a C format whose arguments are the program, its
// pid and the service (master/service.c, main): in this order, or by number (%2$d).
func debugCommand(format, program string, pid int, service string) (string, error) {
	verbs := regexp.MustCompile(`%(?:([1-9])\$)?(.?)`)
	args := []struct{ verb, value string }{{"s", program}, {"d", strconv.Itoa(pid)}, {"s", service}}
	next, bad := 0, ""
	command := verbs.ReplaceAllStringFunc(format, func(found string) string {
		m := verbs.FindStringSubmatch(found)
		if m[1] == "" && m[2] == "%" {
			return "%"
		}
		i := next
		if m[1] != "" {
			i = int(m[1][0] - '1')
		} else {
			next++
		}
		if i >= len(args) || args[i].verb != m[2] {
			bad = found
			return found
		}
		return args[i].value
	})
	if bad != "" {
		return "", fmt.Errorf("debug_command: %q in %q: the arguments are %%s program, %%d process id, %%s service", bad, format)
	}
	return command, nil
}

// runDebugger runs command as system(3) does and waits for it. Its exit status does not
// matter to backupd.
func runDebugger(ctx context.Context, log *slog.Logger, command string) {
	log.Debug("running external debugger", slog.String("command", command))
	err := exec.CommandContext(ctx, "/bin/sh", "-c", command).Run()
	log.Debug("debugger returned", slog.Any("err", err))
}
