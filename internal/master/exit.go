package master

// Exit statuses, from sysexits.h where possible. master(8) treats ExitOK and ExitTempFail as
// success and counts all others (master/master.c, decode_wait_status and reap_child): five, each
// within ten seconds, disable the service until SIGHUP.
const (
	ExitOK       = 0
	ExitUsage    = 64 // unknown option, or started as root
	ExitSoftware = 70 // the inherited descriptors are not those of a service
	ExitOSErr    = 71 // accept failed permanently
	ExitTempFail = 75 // ended by SIGTERM, SIGINT or SIGQUIT
	ExitConfig   = 78 // the administrator must act
)
