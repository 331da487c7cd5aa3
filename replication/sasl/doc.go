// Package sasl is the server's side of a login: which mechanisms a client may use, the
// exchange itself, and who the client then is.
//
//	auth, err := sasl.New(options)
//	auth.Mechanisms(layer)                          for the banner
//	x, err := auth.Start("SCRAM-SHA-256", layer)
//	challenge, done, err := x.Next(ctx, response)   until done or an error
//	x.Identity()
//
// Transport is the caller's: base64, lines, the pause after a failure. The csync protocol
// cannot carry data with its OK line, so a mechanism's last message is one more challenge,
// which the client answers with an empty response (imap/saslserver.c: saslserver).
package sasl
