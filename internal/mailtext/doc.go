// Package mailtext decodes header fields for people, and finds the attachments of a message. It is
// for searching: it accepts whatever mail programs have sent, and skips only the malformed parts.
package mailtext
