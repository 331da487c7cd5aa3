// Package master implements the contract between a service and Cyrus master(8): what the child
// inherits and reports, how it accepts, and when and how it ends.
//
// It follows Cyrus's multi-threaded services (master/service-thread.c): one process serves many
// connections, sends master one message for each, and is otherwise silent. The same code, without
// messages, supports systemd socket activation and a single connection on standard input and output.
//
// The package must never
//   - send a status message that master's state machine does not expect (see Status);
//   - exit with 0 or 75 before it has accepted a connection, unless a signal asked for it: master
//     treats both as success and forks again at once, for ever;
//   - let a helper process inherit one of master's descriptors.
package master
