// Package schemas is Flightlog's contract: the Avro records that producers,
// processors and readers exchange, and their codecs.
//
// The .avsc files are the source; go generate makes the Go types (*_gen.go),
// the JSON Schema of the event, the data dictionary (docs/schemas.md) and the
// history of versions from them.
//
// Every record has AppendAvro, which allocates nothing but the growth of its
// buffer, and DecodeAvro, which checks every length, count and symbol against
// what is left and against the contract's caps before it allocates. Records
// that travel on their own also have AppendMessage and DecodeMessage in the
// single-object encoding.
//
// To change a schema, edit its .avsc and run go generate. A version that no
// release holds is replaced by the next change; go run ./internal/generate
// -release NAME marks the present versions as released, and from then on they
// stay in history: the generator refuses a change that they and the present
// schema could not both read, and DecodeMessage resolves what they wrote.
//
// A decoded record owns one copy of its bytes, and its strings and byte slices
// lie in that copy: a string kept for long keeps the whole record, so a state
// that outlives the record clones it (strings.Clone). A [Frame] is the
// exception: its events lie in the message itself.
package schemas

//go:generate go run ./internal/generate

// OptLong is a long that may be unknown (null).
type OptLong struct {
	Value int64
	Valid bool
}

// OptDouble is a double that may be unknown (null).
type OptDouble struct {
	Value float64
	Valid bool
}

// OptBool is a boolean that may be unknown (null).
type OptBool struct {
	Value bool
	Valid bool
}

// SomeLong is a known long.
func SomeLong(v int64) OptLong { return OptLong{v, true} }

// SomeDouble is a known double.
func SomeDouble(v float64) OptDouble { return OptDouble{v, true} }

// SomeBool is a known boolean.
func SomeBool(v bool) OptBool { return OptBool{v, true} }
