package test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unneeded are calls that no program of a backup host makes, and that would help somebody who has broken into one: into
// other processes, namespaces, the kernel, or its keys.
var unneeded = strings.Fields(`ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd unshare setns clone3 chroot pivot_root
	mount umount umount2 mount_setattr move_mount fsopen open_tree bpf perf_event_open userfaultfd io_uring_setup keyctl add_key request_key
	init_module finit_module delete_module kexec_load reboot swapon quotactl acct open_by_handle_at name_to_handle_at fanotify_init
	mknod mknodat personality settimeofday clock_settime adjtimex syslog iopl ioperm modify_ldt memfd_create memfd_secret seccomp`)

// The profile of docker-compose.yml is an allow list in Docker's format. It has nothing that these programs do not need.
func TestSeccompProfile(t *testing.T) {
	text, err := os.ReadFile("../build/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		DefaultAction string
		Syscalls      []struct {
			Names  []string
			Action string
			Args   []struct {
				Index, Value, ValueTwo uint64
				Op                     string
			}
		}
	}
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	if p.DefaultAction != "SCMP_ACT_ERRNO" {
		t.Errorf("the default is %s", p.DefaultAction)
	}
	limited, seen := []string{"socket", "clone"}, map[string]bool{}
	for _, s := range p.Syscalls {
		for _, name := range s.Names {
			if s.Action == "SCMP_ACT_ALLOW" && slices.Contains(unneeded, name) {
				t.Errorf("%s is allowed", name)
			}
			if slices.Contains(limited, name) != (len(s.Args) > 0) {
				t.Errorf("%s: arguments %v", name, s.Args)
			}
			if seen[name] && !slices.Contains(limited, name) {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	}
	compose, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	// The backup hosts inherit x-backuphost, and tools refers to its options.
	for _, want := range []string{`(?m)^x-backuphost:(.*\n)*?  security_opt: &seccomp \["no-new-privileges:true", "seccomp:build/seccomp.json"\]$`,
		`(?m)^  tools:\n(    .*\n)*    security_opt: \*seccomp$`} {
		if !regexp.MustCompile(want).Match(compose) {
			t.Errorf("docker-compose.yml does not match %s", want)
		}
	}
}
