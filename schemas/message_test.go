package schemas

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	hamba "github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"
)

func TestFingerprintsAreThoseOfOtherLibraries(t *testing.T) {
	for _, root := range roots {
		text, _ := Definition(root.fingerprint)
		// hamba keeps logical types in its canonical form; the specification
		// and twmb strip them.
		h, err := hamba.ParseWithCache(plain(parsed(t, root.fingerprint)), "", &hamba.SchemaCache{})
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := h.FingerprintUsing(hamba.CRC64AvroLE)
		if err != nil {
			t.Fatal(err)
		}
		message := root.fresh().AppendMessage(nil)
		if !bytes.Equal(message[2:headerSize], theirs) {
			t.Errorf("%s: %x, hamba says %x", root.name, message[2:headerSize], theirs)
		}
		w, err := twmb.Parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if rest, err := w.DecodeSingleObject(message, &v); err != nil || len(rest) > 0 {
			t.Errorf("%s: twmb cannot read our message: %v, rest %x", root.name, err, rest)
		}
	}
}

func TestAMessageTellsItsRecord(t *testing.T) {
	for _, root := range roots {
		message := root.fresh().AppendMessage(nil)
		fingerprint, ok := MessageFingerprint(message)
		if !ok || fingerprint != root.fingerprint || FingerprintName(fingerprint) != root.name {
			t.Errorf("%s: %016x, %v, %q", root.name, fingerprint, ok, FingerprintName(fingerprint))
		}
		for _, other := range roots {
			if err := other.fresh().DecodeMessage(message); (err == nil) != (other.name == root.name) {
				t.Errorf("a %s decoded as a %s: %v", root.name, other.name, err)
			}
		}
	}
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	message := (&Control{}).AppendMessage(nil)
	unknown := bytes.Clone(message)
	unknown[5] ^= 1
	for _, b := range [][]byte{nil, {0xC3}, []byte("{\"a\":1}, text"), message[1:], unknown} {
		var c Control
		if err := c.DecodeMessage(b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, ok := MessageFingerprint(message[1:]); ok {
		t.Error("a message without its first byte has a fingerprint")
	}
	if fingerprint, _ := MessageFingerprint(unknown); FingerprintName(fingerprint) != "" {
		t.Error("an unknown fingerprint has a name")
	}
}

func TestEncodedRowsMakeTheSameFrameAsRows(t *testing.T) {
	header := RowHeader{Processor: "sessions", SourcePartition: 3, Generation: 1, FirstCommit: 7, LastCommit: 9, PreviousCommit: 5, CommitHash: Hash{1}, Watermark: 12}
	for n := range 3 {
		frame := EnrichedFrame{Header: header}
		var rows [][]byte
		for i := range n {
			row := Enriched{Sign: 1, Version: int64(i), Org: "acme", TokenInput: SomeLong(int64(i))}
			frame.Rows = append(frame.Rows, row)
			rows = append(rows, row.AppendAvro(nil))
		}
		message := AppendRowFrame([]byte("before"), EnrichedFrameFingerprint, &header, rows)
		if !bytes.Equal(message, frame.AppendMessage([]byte("before"))) {
			t.Fatalf("%d rows: the frames differ", n)
		}
		var got EnrichedFrame
		if err := got.DecodeMessage(message[len("before"):]); err != nil || !reflect.DeepEqual(got, frame) {
			t.Errorf("%d rows: %v\n%+v", n, err, got)
		}
	}
}
