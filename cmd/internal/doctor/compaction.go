package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// compactTimer is the timer of our package.
const compactTimer = "cyrus-backupd-compact.timer"

// starts are the places that start ctl_backups compact.
type starts struct {
	found bool
	whole []string // where all backups are compacted
}

// compaction checks that one place starts ctl_backups compact, and only one.
func (c *checkup) compaction() {
	n := len(c.all)
	var s starts
	for _, timer := range c.timers() {
		s.found, s.whole = true, append(s.whole, timer)
	}
	for _, j := range c.Facts.Jobs {
		c.started(&s, j.Where, j.Args)
	}
	text, err := os.ReadFile(c.CyrusConf)
	if err != nil && !s.found {
		return // reported by master
	}
	for _, e := range parseCyrusConf(string(text)) {
		path, args := e.program()
		if filepath.Base(path) != "ctl_backups" || !compacts(args) {
			continue
		}
		c.binary(e, path)
		if e.section != "EVENTS" {
			c.fail(c.at(e), "move the line to EVENTS", "%s is in %s: it runs once, or never", e.name, e.section)
		}
		c.started(&s, c.at(e), args)
	}
	switch {
	case !s.found:
		c.warn(c.CyrusConf, fmt.Sprintf(`EVENTS { compact cmd="%s compact -A --for 4h" at=0400 }, or systemctl enable --now %s`, beside("ctl_backups"), compactTimer),
			"no line in EVENTS, no timer and no line of cron runs ctl_backups compact")
	case len(s.whole) > 1:
		c.warn(s.whole[1], "remove all but one of them", "compact -A is started in %d places: %s", len(s.whole), strings.Join(s.whole, ", "))
	case c.sound(n):
		c.ok(s.whole[0], "it runs compact -A")
	}
}

// started notes a place that starts compact with these arguments.
func (c *checkup) started(s *starts, where string, args []string) {
	s.found = true
	if slices.Contains(args, "-A") || slices.Contains(args, "--all") {
		s.whole = append(s.whole, where)
		return
	}
	c.warn(where, "compact -A", "without -A, compact removes no packs")
}

// compacts reports whether these arguments of ctl_backups compact something.
func compacts(args []string) bool {
	return slices.Contains(args, "compact") && !slices.Contains(args, "-n") && !slices.Contains(args, "--dry-run")
}

// timers returns the timers of systemd that are on and start compact.
func (c *checkup) timers() (out []string) {
	dir := filepath.Join(c.Systemd, "timers.target.wants")
	links, err := os.ReadDir(dir)
	if err != nil {
		return nil // no systemd
	}
	for _, l := range links {
		if l.Name() == compactTimer || c.startsCompact(filepath.Join(dir, l.Name())) {
			out = append(out, l.Name())
		}
	}
	return out
}

// startsCompact reports whether the service of a timer runs compact.
func (c *checkup) startsCompact(link string) bool {
	timer, err := filepath.EvalSymlinks(link)
	if err != nil {
		return false
	}
	service := strings.TrimSuffix(filepath.Base(link), ".timer") + ".service"
	for _, unit := range settingsOf(timer, "Unit") {
		service = unit
	}
	for _, dir := range []string{c.Systemd, filepath.Dir(timer)} {
		for _, command := range settingsOf(filepath.Join(dir, service), "ExecStart") {
			if _, ok := compactIn(command); ok {
				return true
			}
		}
	}
	return false
}

// settingsOf returns the values of a key in a unit. A file that cannot be read has none.
func settingsOf(unit, key string) (out []string) {
	text, err := os.ReadFile(unit)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) == key {
			out = append(out, strings.TrimSpace(value))
		}
	}
	return out
}
