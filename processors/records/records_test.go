package records_test

import (
	"errors"
	"testing"

	"github.com/flightlog/flightlog/processors/records"
	"github.com/flightlog/flightlog/schemas"
)

func sample() []byte {
	w := records.New(64)
	w.Uint(300)
	w.Int(-7, 1<<40)
	w.Bool(true)
	w.Text("text")
	w.Bytes([]byte{1, 2})
	w.IDs([]schemas.Id{{1}, {2}})
	return w
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	r := records.Read(sample())
	var a, b int64
	n := r.Uint()
	r.Ints(&a, &b)
	is, text, bytes, ids := r.Bool(), r.Text(), r.Bytes(), r.IDs()
	if n != 300 || a != -7 || b != 1<<40 || !is || text != "text" || string(bytes) != "\x01\x02" || len(ids) != 2 || ids[1] != (schemas.Id{2}) {
		t.Error(n, a, b, is, text, bytes, ids)
	}
	if r.Err() != nil || len(r.Rest()) > 0 {
		t.Error(r.Err(), r.Rest())
	}
}

func TestADamagedRecordIsAnError(t *testing.T) {
	whole := sample()
	for n := range len(whole) {
		r := records.Read(whole[:n])
		r.Uint()
		r.Int()
		r.Int()
		r.Bool()
		r.Text()
		r.Bytes()
		if r.IDs(); !errors.Is(r.Err(), records.ErrDamaged) {
			t.Errorf("%d bytes of %d are a record", n, len(whole))
		}
	}
	if r := records.Read([]byte{9}); r.Err() == nil {
		t.Error("another version is a record")
	}
}
