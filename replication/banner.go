package replication

import "strings"

// product is the name of this server in the banner. A client checks only "* OK"
// (imap/backend.c, ask_capability).
const product = "Cyrus backup server"

// banner lists the capabilities and ends in "* OK" (backup/backupd.c, dobanner). It offers
// only implemented capabilities. SIEVE-MAILBOX is not implemented, so scripts arrive as
// APPLY SIEVE (replication-protocol.md 1.2).
func (c *conn) banner() error {
	if c.user == "" {
		if mechs := c.mechanisms(); len(mechs) > 0 {
			if err := c.reply("* SASL " + strings.Join(mechs, " ")); err != nil {
				return err
			}
		}
		if c.tlsConfig != nil && !c.tls && !c.srv.opt.NoStartTLS {
			if err := c.reply("* STARTTLS"); err != nil {
				return err
			}
		}
		if c.offersCompress() {
			if err := c.reply("* COMPRESS DEFLATE"); err != nil {
				return err
			}
		}
	}
	err := c.reply("* OK " + c.srv.opt.ServerName + " " + product + " " + c.srv.opt.Version)
	if err != nil {
		return err
	}
	return c.flush()
}

// offersCompress reports whether to offer COMPRESS. It is an option because on a fast
// network compression costs the client twenty times the CPU (lab/BASELINE.md).
func (c *conn) offersCompress() bool {
	if c.compressed || c.tls {
		return false
	}
	f := c.srv.opt.OfferCompress
	return f == nil || f(c.transport.conn.RemoteAddr())
}
