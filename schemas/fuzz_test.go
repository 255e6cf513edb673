package schemas

import (
	"bytes"
	"encoding/json"
	"testing"
)

// fuzzRoot feeds arbitrary bytes to a record's decoders. What they take must
// survive another round trip byte by byte.
func fuzzRoot(f *testing.F, name string) {
	r := rootOf(f, name)
	for _, message := range presentGoldens(f, r.name, r.fingerprint) {
		f.Add(message[headerSize:])
	}
	f.Add(r.fresh().AppendAvro(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		message := append(appendHeader(nil, r.fingerprint), b...)
		x, y := r.fresh(), r.fresh()
		rest, err := x.DecodeAvro(b)
		whole := x.DecodeMessage(message)
		if (err == nil && len(rest) == 0) != (whole == nil) {
			t.Fatalf("DecodeAvro says %v with %d bytes left, DecodeMessage %v", err, len(rest), whole)
		}
		if whole != nil {
			if !typed(whole) {
				t.Fatalf("an error of no known kind: %v", whole)
			}
			return
		}
		again := x.AppendMessage(nil)
		if err := y.DecodeMessage(again); err != nil || !bytes.Equal(y.AppendMessage(nil), again) {
			t.Fatalf("%x\nencodes as %x\nwhich decodes to %x: %v", b, again, y.AppendMessage(nil), err)
		}
		if o, ok := x.(object); ok && !json.Valid(o.AppendJSON(nil)) {
			t.Fatalf("no JSON: %s", o.AppendJSON(nil))
		}
	})
}

func FuzzDecodeEvent(f *testing.F)           { fuzzRoot(f, "Event") }
func FuzzDecodeFrame(f *testing.F)           { fuzzRoot(f, "Frame") }
func FuzzDecodeControl(f *testing.F)         { fuzzRoot(f, "Control") }
func FuzzDecodeCommit(f *testing.F)          { fuzzRoot(f, "Commit") }
func FuzzDecodeDeadLetter(f *testing.F)      { fuzzRoot(f, "DeadLetter") }
func FuzzDecodeEnriched(f *testing.F)        { fuzzRoot(f, "Enriched") }
func FuzzDecodeFinding(f *testing.F)         { fuzzRoot(f, "Finding") }
func FuzzDecodeTask(f *testing.F)            { fuzzRoot(f, "Task") }
func FuzzDecodeTaskFact(f *testing.F)        { fuzzRoot(f, "TaskFact") }
func FuzzDecodeSpend(f *testing.F)           { fuzzRoot(f, "Spend") }
func FuzzDecodeSpendDelta(f *testing.F)      { fuzzRoot(f, "SpendDelta") }
func FuzzDecodeDeadLetterFrame(f *testing.F) { fuzzRoot(f, "DeadLetterFrame") }
func FuzzDecodeEnrichedFrame(f *testing.F)   { fuzzRoot(f, "EnrichedFrame") }
func FuzzDecodeFindingFrame(f *testing.F)    { fuzzRoot(f, "FindingFrame") }

// FuzzResolve feeds arbitrary bytes to the resolution of an older writer's
// event: it errs, or gives a record that is whole.
func FuzzResolve(f *testing.F) {
	older, present := olderEvent(f), parsed(f, EventFingerprint)
	f.Add([]byte{})
	f.Add(make([]byte, 200))
	for _, message := range presentGoldens(f, "Event", EventFingerprint) {
		f.Add(message[headerSize:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		now, err := resolve(older, present, b)
		if err != nil {
			if !typed(err) {
				t.Fatalf("an error of no known kind: %v", err)
			}
			return
		}
		if end := skipValue(present, now, 0); end != len(now) {
			t.Fatalf("%x resolves to %x, which ends at %d", b, now, end)
		}
	})
}
