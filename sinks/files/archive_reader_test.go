package files_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/files"
)

// twoHours is an archive with a complete file and an open one of each topic.
func twoHours(t testing.TB) (*logs, string) {
	t.Helper()
	b, dir := newLogs(1), t.TempDir()
	for hour := range 2 {
		b.at = at(time.Duration(hour) * time.Hour)
		for i := range 5 {
			b.at += 60e6
			b.send(t, events(0), "local", "acme")
			b.say(t, enriched(0), 300+i)
			b.say(t, findings(0, schemas.LaneNormal), 2)
			b.say(t, deadLetters(0), 2)
			b.say(t, broker.Log{Topic: broker.Tasks}, 2)
			b.say(t, broker.Log{Topic: broker.Spend}, 2)
		}
	}
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	return b, dir
}

// TestAnotherLibraryReadsTheFiles holds each record that it decodes against the
// bytes of the row: it encodes it again.
func TestAnotherLibraryReadsTheFiles(t *testing.T) {
	b, dir := twoHours(t)
	for _, topic := range files.ArchiveTopics {
		var rows [][]byte
		path := filepath.Join(dir, topic, "0", "2096-11-26T10.avro")
		f, err := files.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if topic == broker.Events {
			err = f.EachEvent(t.Context(), func(e *files.Event) error {
				rows = append(rows, e.Event.AppendAvro(nil))
				return nil
			})
		} else {
			err = f.EachRow(t.Context(), func(r *delivery.Row) error {
				rows = append(rows, r.AppendMessage(nil)[10:]) // behind the header
				return nil
			})
		}
		if err != nil || len(rows) == 0 {
			t.Fatalf("%s: %d rows, %v", topic, len(rows), err)
		}
		if want := len(b.said[broker.Log{Topic: topic}]); topic != broker.Enriched && len(rows)*2 != want {
			t.Errorf("%s: %d rows in the first of two hours, in all there are %d", topic, len(rows), want)
		}

		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		twmb, err := ocf.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; ; i++ {
			var v any
			if err := twmb.Decode(&v); err != nil {
				if !errors.Is(err, io.EOF) || i != len(rows) {
					t.Errorf("%s: twmb ends at row %d of %d: %v", topic, i, len(rows), err)
				}
				break
			}
			again, err := twmb.Schema().Encode(v)
			if err != nil || i >= len(rows) || !bytes.HasSuffix(again, rows[i]) {
				t.Fatalf("%s: twmb reads row %d as %v (%v)", topic, i, v, err)
			}
			if extra := len(again) - len(rows[i]); (extra > 0) != (topic == broker.Events) {
				t.Errorf("%s: %d bytes before the record", topic, extra)
			}
			if e, _ := v.(map[string]any); topic == broker.Events && (e["org"] != []string{"local", "acme"}[i%2] || e["producer_id"] != "laptop" || e["event_bytes"] != int64(len(rows[i]))) {
				t.Errorf("twmb reads event %d as of %v, %v, %v bytes", i, e["org"], e["producer_id"], e["event_bytes"])
			}
		}
		wantMetadata(t, topic, twmb.Metadata())
	}
}

func wantMetadata(t *testing.T, topic string, got map[string][]byte) {
	t.Helper()
	for key, want := range map[string]string{"avro.codec": "deflate", "flightlog.topic": topic, "flightlog.partition": "0", "flightlog.lane": "normal",
		"flightlog.hour": "2096-11-26T10", "flightlog.part": "1", "flightlog.generation": "1", "flightlog.installation": "one/g1"} {
		if string(got[key]) != want {
			t.Errorf("%s: metadata %s is %q, want %q", topic, key, got[key], want)
		}
	}
}

// TestAReaderOfThePlainEventReadsTheEventsOfAnArchive: fields before it are
// nothing to Avro's resolution.
func TestAReaderOfThePlainEventReadsTheEventsOfAnArchive(t *testing.T) {
	_, dir := twoHours(t)
	in, err := os.Open(filepath.Join(dir, "events/0/2096-11-26T10.avro"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	text, _ := schemas.Definition(schemas.EventFingerprint)
	plain, err := avro.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	events, err := ocf.NewReader(in, ocf.WithReaderSchema(plain))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		var v map[string]any
		if err = events.Decode(&v); err == nil && (v["session_id"] == "" || v["org"] != nil) {
			t.Errorf("event %d is %v", n, v)
		}
	}
	if !errors.Is(err, io.EOF) || n != 11 {
		t.Errorf("%d events, %v", n-1, err)
	}
}

func TestRowsAreThoseOfATimeOnce(t *testing.T) {
	b, dir := twoHours(t)
	a := openArchive(t, dir)
	if a.Installation() != "one/g1" {
		t.Errorf("installation %q", a.Installation())
	}
	from, to := time.UnixMicro(at(2*time.Minute)-7e6), time.UnixMicro(at(time.Hour+3*time.Minute)-7e6)
	var got []string
	if err := a.Rows(t.Context(), broker.Enriched, from, to, func(r *delivery.Row) error {
		got = append(got, strings.Clone(name(r)))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	said := b.said[enriched(0)]
	if want := said[300 : len(said)-302-303-304]; !slices.Equal(got, want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	var of []string
	if err := a.Events(t.Context(), from, to, func(e *files.Event) error {
		of = append(of, e.Org)
		return nil
	}); err != nil || len(of) != 12 || of[0] != "local" || of[1] != "acme" {
		t.Errorf("events of %v, %v", of, err)
	}
	enough := errors.New("enough")
	n := 0
	if err := a.Rows(t.Context(), broker.Findings, time.Time{}, time.Time{}, func(*delivery.Row) error {
		if n++; n == 3 {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) || n != 3 || err.Error() != "enough" {
		t.Errorf("after %d rows: %v", n, err)
	}
	if err := a.Rows(t.Context(), "closed", from, to, nil); err == nil || !strings.Contains(err.Error(), "it does not hold the topic closed") {
		t.Errorf("rows of closed: %v", err)
	}
	if err := a.Rows(t.Context(), broker.Events, from, to, nil); err == nil || !strings.Contains(err.Error(), "events are no rows") {
		t.Errorf("rows of events: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := a.Rows(ctx, broker.Enriched, from, to, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// TestAnArchiveIsReadWhileItIsWritten opens it, and reads it after the sink has
// gone on, completed the open files and begun others.
func TestAnArchiveIsReadWhileItIsWritten(t *testing.T) {
	b, dir := twoHours(t)
	a := openArchive(t, dir)
	want := len(b.said[enriched(0)])
	for hour := 2; hour < 4; hour++ {
		b.at = at(time.Duration(hour) * time.Hour)
		b.say(t, enriched(0), 50)
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := a.Rows(t.Context(), broker.Enriched, time.Time{}, time.Time{}, func(*delivery.Row) error { n++; return nil }); err != nil || n != want {
			t.Errorf("%d rows, want %d: %v", n, want, err)
		}
	}
}

func TestWhatIsDamagedIsAnErrorBeforeTheFirstRow(t *testing.T) {
	_, good := twoHours(t)
	complete, open := "enriched/0/2096-11-26T10.avro", "enriched/0/2096-11-26T11.avro.open"
	for what, c := range map[string]struct {
		damage func(dir string) error
		want   string
		is     error
	}{
		"a byte":             {func(dir string) error { return flip(filepath.Join(dir, complete), 30000) }, complete + " does not hold what was written to it", files.ErrDamaged},
		"a byte of the head": {func(dir string) error { return flip(filepath.Join(dir, complete), 99) }, complete + " does not hold", files.ErrDamaged},
		"the end":            {func(dir string) error { return os.Truncate(filepath.Join(dir, complete), 25000) }, complete + " is truncated: it holds 25000 of", files.ErrDamaged},
		"a missing file":     {func(dir string) error { return os.Remove(filepath.Join(dir, complete)) }, complete, fs.ErrNotExist},
		"an open file":       {func(dir string) error { return flip(filepath.Join(dir, open), 27000) }, "T11.avro does not hold", files.ErrDamaged},
		"another file": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "findings/0/2096-11-26T10.avro"), filepath.Join(dir, complete))
		}, complete + " ", files.ErrDamaged},
		"the index":     {func(dir string) error { return flip(filepath.Join(dir, "enriched/index.ndjson"), 3) }, "enriched/index.ndjson, a line that ends at byte", files.ErrDamaged},
		"a short index": {func(dir string) error { return os.Truncate(filepath.Join(dir, "enriched/index.ndjson"), 30) }, "enriched/index.ndjson ends after 30 bytes, archive.json says", files.ErrDamaged},
		"rows of the index": {func(dir string) error {
			path := filepath.Join(dir, "enriched/index.ndjson")
			text, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, bytes.Replace(text, []byte(`"rows":1510`), []byte(`"rows":1509`), 1), 0o600))
		}, complete + " of the archive in", files.ErrDamaged},
		"a missing index": {func(dir string) error { return os.Remove(filepath.Join(dir, "enriched/index.ndjson")) },
			"index.ndjson", fs.ErrNotExist},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			rows, from, to := 0, time.Time{}, time.UnixMicro(at(time.Hour))
			if strings.Contains(what, "open") {
				from, to = to, time.Time{}
			}
			err := openArchive(t, dir).Rows(t.Context(), broker.Enriched, from, to, func(*delivery.Row) error { rows++; return nil })
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) || rows > 0 && what != "rows of the index" {
				t.Errorf("%d rows, error %v; want one with %q and the folder", rows, err, c.want)
			}
		})
	}
	for what, c := range map[string]struct {
		text string
		want string
	}{
		"nothing":        {"", "holds no archive.json"},
		"something else": {`{"name": "of another program"}`, "archive.json has version 0, want 1"},
		"a torn one":     {`{"version": 1, "fil`, "archive.json: "},
		"a later layout": {`{"version": 2, "files": {}}`, "archive.json has version 2, want 1"},
	} {
		dir := t.TempDir()
		if c.text != "" {
			write(t, dir, "archive.json", c.text)
		}
		if _, err := files.OpenArchive(dir); err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, files.ErrNoArchive) == (what == "a later layout") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAFileOnItsOwnSaysWhatItHolds(t *testing.T) {
	_, dir := twoHours(t)
	if err := openArchive(t, dir).Files(broker.Events, func(f *files.File) error {
		if f.Hour != "2096-11-26T10" {
			return nil
		}
		alone, err := files.OpenFile(filepath.Join(dir, f.Name))
		if err != nil {
			return err
		}
		if alone.Topic != "events" || alone.Rows != f.Rows || alone.Bytes != f.Bytes || alone.SHA256 != f.SHA256 || alone.Hour != f.Hour || alone.Part != 1 ||
			!slices.Equal(alone.Orgs, f.Orgs) || alone.FirstOccurredAt != f.FirstOccurredAt || alone.LastOccurredAt != f.LastOccurredAt {
			t.Errorf("alone %+v, in its archive %+v", alone, f)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "enriched/0/2096-11-26T10.avro")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(good); n += 1 + n/7 {
		write(t, dir, "short.avro", string(good[:n]))
		if f, err := files.OpenFile(filepath.Join(dir, "short.avro")); err == nil && f.Rows == 1510 {
			t.Errorf("%d of %d bytes are taken for all: %v", n, len(good), err)
		} else if err != nil && !errors.Is(err, files.ErrDamaged) && !errors.Is(err, files.ErrNoArchive) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if write(t, dir, "marker.avro", string(good)); flip(filepath.Join(dir, "marker.avro"), int64(len(good)-1)) != nil {
		t.Fatal("no byte was changed")
	}
	if _, err := files.OpenFile(filepath.Join(dir, "marker.avro")); !errors.Is(err, files.ErrDamaged) {
		t.Errorf("a block that ends otherwise: %v", err)
	}
	foreign := strings.Replace(string(good), "flightlog.topic", "someother.topic", 1)
	another := strings.Replace(string(good), `"session_id"`, `"session_ix"`, 1)
	for what, text := range map[string]string{"no container": "hello", "another's": foreign, "another schema": another} {
		write(t, dir, "foreign.avro", text)
		if _, err := files.OpenFile(filepath.Join(dir, "foreign.avro")); !errors.Is(err, files.ErrNoArchive) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestReadingHoldsABlockNotAFile reads a file of many blocks.
func TestReadingHoldsABlockNotAFile(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.at = at(0)
	for range 300 {
		b.say(t, enriched(0), 400)
	}
	b.held[enriched(0)] = slices.Clip(b.held[enriched(0)])
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	b.held, b.said = nil, nil
	a := openArchive(t, dir)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n, most := 0, uint64(0)
	if err := a.Rows(t.Context(), broker.Enriched, time.Time{}, time.Time{}, func(*delivery.Row) error {
		if n++; n%20000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		return nil
	}); err != nil || n != 120_000 {
		t.Fatalf("%d rows, %v", n, err)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("reading %d rows holds %d MB", n, grown>>20)
	} else {
		t.Logf("reading %d rows holds %d KB", n, grown>>10)
	}
}

// FuzzOpenFile: no bytes make a reader panic, neither as a file nor as what
// follows a good head.
func FuzzOpenFile(f *testing.F) {
	_, dir := twoHours(f)
	var heads []string
	for i, name := range []string{"events/0/2096-11-26T10.avro", "findings/0/2096-11-26T10.avro"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		marker := text[len(text)-16:]
		end := bytes.Index(text, marker) + 16
		heads = append(heads, string(text[:end]))
		f.Add(uint8(i), bytes.ReplaceAll(text[end:], marker, []byte("0123456789abcdef")))
	}
	for i := range heads {
		heads[i] = heads[i][:len(heads[i])-16] + "0123456789abcdef"
	}
	f.Add(uint8(2), []byte("Obj\x01\x02\x14avro.codec\x0edeflate\x000123456789abcdef"))
	heads = append(heads, "")
	path := filepath.Join(f.TempDir(), "a.avro")
	f.Fuzz(func(t *testing.T, head uint8, text []byte) {
		text = append([]byte(heads[int(head)%len(heads)]), text...)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if file, err := files.OpenFile(path); err == nil && file.Bytes != int64(len(text)) {
			t.Errorf("%+v", file)
		}
	})
}
