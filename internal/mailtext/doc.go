// Package mailtext reads header fields as people read them, and finds the attachments of
// a message. It is for searching: it takes what mail programs have sent, right or wrong,
// and gives up nothing because a part of it is.
package mailtext
