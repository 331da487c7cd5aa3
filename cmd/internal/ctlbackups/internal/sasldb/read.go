package sasldb

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Entry is a record of the database: a property of a user (cyrus-sasl, sasldb/allockey.c: _sasldb_alloc_key).
type Entry struct {
	User, Realm string
	Property    string
	Value       []byte // valid until the function returns that got the entry
}

// Password is the property with the password in plain text. Others have hashes, and their names end with a mechanism.
const Password = "userPassword"

// ErrDatabase means that the input is a database, and not its dump.
var ErrDatabase = errors.New("it is a database, and not its dump")

// Read calls fn for each record of a dump. The error of a dump names the line.
func Read(r io.Reader, fn func(Entry) error) error {
	l := newLines(r)
	if f := Recognise(l.peek()); f != nil {
		return fmt.Errorf("%w (%s)", ErrDatabase, f.Name)
	}
	first, err := l.next()
	switch {
	case err == io.EOF:
		return errors.New("the dump is empty")
	case err != nil:
		return err
	case strings.HasPrefix(first, "VERSION="):
		return readBerkeley(l, first, fn)
	case strings.HasPrefix(first, "# GDBM dump file"):
		return readGDBM(l, fn)
	case strings.HasPrefix(first, "!"):
		return l.fault("this is the binary format of gdbm_dump; dump with -H ascii")
	}
	return l.fault("this is not a dump of db_dump, mdb_dump or gdbm_dump")
}

// entry splits a key: the user, the realm and the property, with a NUL between them.
func entry(l *lines, key, value []byte) (Entry, error) {
	parts := strings.Split(string(key), "\x00")
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return Entry{}, l.fault("the key is not a user, a realm and a property: this is not a sasldb")
	}
	return Entry{User: parts[0], Realm: parts[1], Property: parts[2], Value: value}, nil
}
