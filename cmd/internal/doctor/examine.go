package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// FactsVariable has the facts in the environment of a process that checks as the daemon's user.
const FactsVariable = "CTL_BACKUPS_DOCTOR"

// Examiner runs the checks as the daemon would see the host.
type Examiner struct {
	Options
	Sources
	// Command begins the command line that prints the findings as NDJSON, such as ctl_backups doctor
	// --ndjson. Extra are variables for it.
	Command []string
	Extra   []string
}

// Examine runs the checks. As root, or if the environment of the daemon is known, it runs them in
// another process, with the daemon's user and environment: this shows which files that user can use,
// and which keys the daemon finds.
func (e Examiner) Examine(ctx context.Context) ([]Finding, error) {
	for _, path := range []*string{&e.Config, &e.CyrusConf} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = abs
	}
	if text, again := os.LookupEnv(FactsVariable); again {
		if err := json.Unmarshal([]byte(text), &e.Facts); err != nil {
			return nil, fmt.Errorf("%s: %w", FactsVariable, err)
		}
		return Run(ctx, e.Options), nil
	}
	e.Facts = Gather(e.Sources)
	daemon := accountOf(e.Config)
	change := os.Geteuid() == 0 && daemon.Err == nil && daemon.UID > 0
	if !change && (e.Facts.Env == nil || os.Geteuid() != daemon.UID) {
		e.Facts.Source = ""
		return Run(ctx, e.Options), nil
	}
	found, err := e.again(ctx, daemon, change)
	if err != nil && ctx.Err() == nil {
		r := &report{check: "user"}
		r.warn(daemon.Name, "sudo -u "+daemon.Name+" ctl_backups doctor", "the checks could not run as this user: %v", err)
		e.Facts.Source = ""
		return append(r.all, Run(ctx, e.Options)...), nil
	}
	return found, err
}

// again runs the checks in another process.
func (e Examiner) again(ctx context.Context, daemon Account, change bool) ([]Finding, error) {
	e.Facts.User = daemon.Name
	facts, err := json.Marshal(e.Facts)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe") // the daemon's user need not be able to find this program
	cmd.Args = append(append([]string{}, e.Command...), "-C", e.Config, "--cyrus-conf", e.CyrusConf)
	cmd.Env = append(append(e.environment(), e.Extra...), FactsVariable+"="+string(facts))
	cmd.Dir = "/"
	if change {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(daemon.UID), Gid: uint32(daemon.GID), Groups: daemon.Groups}} //nolint:gosec // ids of the system
	}
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	var found []Finding
	for d := json.NewDecoder(&out); ; {
		var f Finding
		err := d.Decode(&f)
		switch {
		case errors.Is(err, io.EOF) && len(found) > 0:
			return found, nil
		case err != nil:
			return nil, fmt.Errorf("%w %s", err, strings.TrimSpace(failure.String()))
		}
		found = append(found, f)
	}
}

// environment is that of the daemon. If nobody knows it, it has no keys: a shell's are not the
// daemon's.
func (e Examiner) environment() []string {
	if e.Facts.Env != nil {
		return e.Facts.Env
	}
	var env []string
	for _, kv := range e.Shell {
		if name, _, _ := strings.Cut(kv, "="); !hasKeys(name) {
			env = append(env, kv)
		}
	}
	return env
}
