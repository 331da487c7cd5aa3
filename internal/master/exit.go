package master

// Exit statuses, from sysexits.h as far as they are there. master(8) takes ExitOK and
// ExitTempFail for success and counts any other (master/master.c, decode_wait_status
// and reap_child): five within ten seconds each disable the service until SIGHUP.
const (
	ExitOK       = 0
	ExitUsage    = 64 // unknown option, or started as root
	ExitSoftware = 70 // what was inherited is not what master gives a service
	ExitOSErr    = 71 // accept failed in a way that waiting does not mend
	ExitTempFail = 75 // ended by SIGTERM, SIGINT or SIGQUIT
	ExitConfig   = 78 // only a person can mend it
)
