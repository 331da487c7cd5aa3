package imapconf

import (
	"fmt"
	"slices"
	"strings"
)

// Type is the syntax of an option's value.
type Type int

// The types of Cyrus (lib/imapoptions/README.md), except BITFIELD.
const (
	String   Type = iota // any text; a leading {configdirectory} is replaced
	Int                  // C integer: 10, 0x1f, 017
	Switch               // yes/no, on/off, true/false, t/f, 1/0
	Enum                 // one of Words; the words for on and off are interchangeable
	List                 // one of Words, exactly (Cyrus: STRINGLIST)
	Duration             // 1d2h3m4s; in seconds when stored
	Size                 // 10, 10K, 10 MiB; in bytes when stored
)

// String returns the type's name for a manual page.
func (t Type) String() string {
	return [...]string{"string", "integer", "switch", "word", "word", "duration", "size"}[t]
}

// Option describes an option that this program or its tools read.
type Option struct {
	Name string
	// Family means that Name is a prefix: all keys that begin with it belong to this option.
	Family bool
	Type   Type
	// Default is in the syntax of the file. Empty means no value, 0 or no.
	Default string
	// Unit is the unit of a bare number: d, h, m or s (0 is s) of a Duration,
	// B, K, M or G (0 is B) of a Size.
	Unit byte
	// Words are the values of an Enum or a List.
	Words []string
	// Min and Max limit Int (the number), Duration (seconds) and Size (bytes), inclusive.
	// Both 0 means no limits; Max 0 alone means no upper limit.
	Min, Max int64
	// Floor raises smaller values without an error (Int, seconds, bytes).
	Floor int64
	// ReplacedBy makes this a deprecated name of another option of the same type.
	ReplacedBy string
	// NoEffect means that the option is checked but not used: it belongs to another program, or
	// to a feature that does not exist yet.
	NoEffect bool
	// Doc is the text for the manual page.
	Doc string
}

// Allowed describes the values that the option accepts.
func (o *Option) Allowed() string {
	var s string
	switch o.Type {
	case Int:
		s = "a whole number"
	case Switch:
		return "yes, no, on, off, true, false, t, f, 1, 0"
	case Enum, List:
		return strings.Join(o.Words, ", ")
	case Duration:
		s = fmt.Sprintf("a number with d, h, m or s, such as 1h30m (without a unit: %c)", o.unit())
	case Size:
		example := "12M"
		if 12*mib < o.Min {
			example = o.Default
		}
		s = fmt.Sprintf("a number with K, M or G, such as %s (without a unit: %c)", example, o.unit())
	default:
		return "any text"
	}
	switch {
	case o.Max != 0:
		s += fmt.Sprintf(", from %s to %s", o.show(o.Min), o.show(o.Max))
	case o.Min != 0:
		s += fmt.Sprintf(", at least %s", o.show(o.Min))
	}
	return s
}

func (o *Option) unit() byte {
	switch {
	case o.Unit != 0:
		return o.Unit
	case o.Type == Size:
		return 'B'
	default:
		return 's'
	}
}

// show formats a limit in the syntax of the file.
func (o *Option) show(n int64) string {
	var units []struct {
		size int64
		name string
	}
	add := func(size int64, name string) {
		units = append(units, struct {
			size int64
			name string
		}{size, name})
	}
	switch o.Type {
	case Duration:
		add(86400, "d")
		add(3600, "h")
		add(60, "m")
		add(1, "s")
	case Size:
		add(1<<30, "G")
		add(1<<20, "M")
		add(1<<10, "K")
	}
	for _, u := range units {
		if n != 0 && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.name)
		}
	}
	return fmt.Sprint(n)
}

// Options returns all options, sorted by name, for manual pages and checks.
func Options() []Option {
	all := slices.Concat(
		identityOptions(), loginOptions(), tlsOptions(), protocolOptions(), processOptions(),
		cyrusBackupOptions(), retentionOptions(), storageOptions(), serviceOptions(), clientOptions())
	slices.SortFunc(all, func(a, b Option) int { return strings.Compare(a.Name, b.Name) })
	return all
}
