package avsc

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	twmb "github.com/twmb/avro"
)

// released are the self-contained schemas of history.
func released(t *testing.T) (texts [][]byte) {
	paths, err := filepath.Glob("../../history/*/*.avsc")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no schemas in history: %v", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	return texts
}

func TestCanonicalFormAndFingerprintAreThoseOfTheSpecification(t *testing.T) {
	texts := append(released(t),
		[]byte(`"int"`), []byte(`{"type":"long","logicalType":"timestamp-micros"}`), []byte(`["null", {"type":"string"}]`),
		[]byte(`{"type":"enum","name":"a.b.E","symbols":["x","y"],"default":"x","doc":"d"}`),
		[]byte(`{"type":"record","name":"R","namespace":"n","fields":[{"name":"f","type":{"type":"fixed","name":"F","size":3}},{"name":"g","type":"F","default":"abc"},{"name":"h","type":"n.F"}]}`))
	for _, text := range texts {
		s, err := Names{}.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		other, err := twmb.Parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := s.Canonical(), string(other.Canonical()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		want := binary.BigEndian.Uint64(other.Fingerprint(twmb.NewRabin()))
		if got := s.Fingerprint(); got != want {
			t.Errorf("%s: fingerprint %016x, want %016x", s.Name, got, want)
		}
	}
	// The empty canonical form's own fingerprint, by the specification's code.
	s, _ := Names{}.Parse([]byte(`"null"`))
	if got := s.Fingerprint(); got != 0x63dd24e7cc258f8a {
		t.Errorf("fingerprint of null: %016x", got)
	}
}

func TestAResolvedSchemaReadsAsItself(t *testing.T) {
	for _, text := range released(t) {
		s, err := Names{}.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Resolved(); string(got) != string(text) {
			t.Errorf("%s changes by reading and writing it:\n%s", s.Name, got)
		}
	}
}

func TestWhatIsNoSchemaOfOursIsRefused(t *testing.T) {
	for _, text := range []string{
		``, `{`, `12`, `"float"`, `"Unknown"`, `[]`, `{"type":"map","values":"long"}`, `{"type":"array"}`, `{"name":"x"}`,
		`{"type":"record","fields":[]}`, `{"type":"fixed","name":"F"}`, `{"type":"fixed","name":"F","size":-1}`,
		`{"type":"enum","name":"E","symbols":["a"],"default":3}`, `{"type":"enum","name":"E","symbols":"a"}`,
		`{"type":"record","name":"R","fields":[{"name":"f"}]}`, `{"type":"record","name":"R","fields":[3]}`,
		`{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"fixed","name":"R","size":1}}]}`,
		`["null", "what"]`, `[3`, `"unterminated`,
	} {
		if s, err := (Names{}).Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), "cannot read schema") {
			t.Errorf("%s: got %+v, %v", text, s, err)
		}
	}
}
