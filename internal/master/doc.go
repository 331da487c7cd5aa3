// Package master is a service's side of the contract with Cyrus master(8): what a
// child inherits, what it reports, how it accepts, and when and how it ends.
//
// It follows Cyrus's own multi-threaded services (master/service-thread.c): one
// process serves many connections, tells master of each with one message, and is
// otherwise silent. The same life, without the messages, serves systemd's socket
// activation and a single connection on standard input and output.
//
// What may never happen:
//   - a status message that master's state machine does not expect (see Status);
//   - an exit with 0 or 75 before a connection was accepted, unless a signal asked
//     for it: master takes both for success and forks again at once, for ever;
//   - a descriptor of master's that a helper process inherits.
package master
