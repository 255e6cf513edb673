package producers_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

type letters struct{ got []schemas.DeadLetter }

func (l *letters) Event(*schemas.Event) error { return nil }

func (l *letters) DeadLetter(d *schemas.DeadLetter) error {
	l.got = append(l.got, *d)
	return nil
}

// readAll gives "line:raw" of the lines read and "line:reason" of the dead letters.
func readAll(t *testing.T, r io.Reader) (read, dead []string) {
	t.Helper()
	var sink letters
	err := producers.Lines(r, "test", schemas.WitnessHook, &sink, func(line int64, raw []byte) error {
		read = append(read, fmt.Sprintf("%d:%s", line, raw))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range sink.got {
		dead = append(dead, d.Position+":"+d.Reason)
	}
	return read, dead
}

func TestLinesHandsOnWhatIsGoodAndNamesWhatIsNot(t *testing.T) {
	nested := func(n int) string { return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}" }
	for _, c := range []struct {
		name, in   string
		read, dead []string
	}{
		{"objects, blank lines and Windows line ends", "{}\n\n  \r\n {\"a\":1} \r\n", []string{"1:{}", `4:{"a":1}`}, nil},
		{"last line without an end", "{}\n{\"a\":1}", []string{"1:{}", `2:{"a":1}`}, nil},
		{"last line cut off", "{}\n{\"a\":", []string{"1:{}"}, []string{"2:truncated"}},
		{"last line cut off in a character", "{}\n{\"a\":\"\xc3", []string{"1:{}"}, []string{"2:truncated"}},
		{"no object", "[]\n1\n\"a\"\n{}\n", []string{"4:{}"}, []string{"1:not_json", "2:not_json", "3:not_json"}},
		{"no JSON", "{\"a\":}\n{}{}\n{}\n", []string{"3:{}"}, []string{"1:not_json", "2:not_json"}},
		{"a raw NUL", "{\"a\":\"\x00\"}\n\x00{}\n", nil, []string{"1:not_json", "2:not_json"}},
		{"an escaped NUL", "{\"a\":\"\\u0000\"}\n", []string{"1:{\"a\":\"\\u0000\"}"}, nil},
		{"no UTF-8", "{\"a\":\"\xff\"}\n", nil, []string{"1:not_utf8"}},
		{"as deep as allowed", nested(512) + "\n", []string{"1:" + nested(512)}, nil},
		{"too deep", nested(513) + "\n", nil, []string{"1:too_deep"}},
		{"brackets in texts are no depth", `{"a":"\"` + strings.Repeat("[", 2000) + `"}` + "\n", []string{`1:{"a":"\"` + strings.Repeat("[", 2000) + `"}`}, nil},
	} {
		for reader, r := range map[string]io.Reader{
			"whole": strings.NewReader(c.in), "byte by byte": iotest.OneByteReader(strings.NewReader(c.in)), "end with data": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			read, dead := readAll(t, r)
			if fmt.Sprint(read) != fmt.Sprint(c.read) || fmt.Sprint(dead) != fmt.Sprint(c.dead) {
				t.Errorf("%s, %s: read %.200v and buried %v, want %.200v and %v", c.name, reader, read, dead, c.read, c.dead)
			}
		}
	}
}

func TestLinesSkipsALineThatIsTooLongWithoutHoldingIt(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 4*producers.MaxLine)
	in := io.MultiReader(strings.NewReader("{}\n"), bytes.NewReader(long), strings.NewReader("\n{\"a\":1}\n"))
	var sink letters
	var lines []int64
	err := producers.Lines(in, "test", schemas.WitnessTranscript, &sink, func(line int64, raw []byte) error {
		lines = append(lines, line)
		if cap(raw) > 3*producers.MaxLine {
			t.Errorf("the buffer has grown to %d bytes", cap(raw))
		}
		return nil
	})
	if err != nil || fmt.Sprint(lines) != "[1 3]" || len(sink.got) != 1 {
		t.Fatalf("read lines %v, buried %d, error %v; want lines 1 and 3 and one dead letter", lines, len(sink.got), err)
	}
	d := sink.got[0]
	if d.Reason != "too_long" || d.Position != "2" || d.Size != int64(len(long)) || d.Hash != schemas.TextHash(long) {
		t.Errorf("dead letter %s at %s, size %d, hash %s; want too_long at 2 with size and hash of the whole line", d.Reason, d.Position, d.Size, d.Hash)
	}
}

func TestLinesTakesALineOfTheFullLengthAndNoLonger(t *testing.T) {
	for _, over := range []int{0, 1} {
		line := `{"a":"` + strings.Repeat("x", producers.MaxLine-8+over) + `"}`
		for _, end := range []string{"", "\n"} {
			var sink letters
			var read int
			if err := producers.Lines(strings.NewReader(line+end), "test", schemas.WitnessHook, &sink, func(int64, []byte) error {
				read++
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if read != 1-over || len(sink.got) != over {
				t.Errorf("a line %d bytes over the limit, ended by %q: read %d, buried %d", over, end, read, len(sink.got))
			}
		}
	}
}

func TestLinesBuriesBadInputAndPanicsAndStopsAtOtherErrors(t *testing.T) {
	var sink letters
	stop := errors.New("sink is full")
	var read int
	err := producers.Lines(strings.NewReader("{}\n{}\n{}\n{}\n{}\n"), "/home/anna/x/a.jsonl", schemas.WitnessTranscript, &sink, func(line int64, raw []byte) error {
		read++
		switch line {
		case 1:
			return fmt.Errorf("cannot read a call: %w", &producers.BadInput{Reason: "wrong_type", Detail: "uuid: want a string"})
		case 2:
			panic("secret text")
		case 3:
			return []error{}[line]
		case 4:
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || read != 4 {
		t.Fatalf("stopped after %d lines with %v, want 4 lines and %v", read, err, stop)
	}
	if !strings.Contains(err.Error(), "~/x/a.jsonl at line 4") {
		t.Errorf("error %q does not name file and line", err)
	}
	got := ""
	for _, d := range sink.got {
		got += d.Position + ":" + d.Reason + ":" + d.Detail + "\n"
		if d.Source != "~/x/a.jsonl" || d.Witness != schemas.WitnessTranscript || d.Hash != schemas.TextHash([]byte("{}")) || d.Size != 2 || len(d.Payload) != 0 {
			t.Errorf("dead letter %+v", d)
		}
	}
	want := "1:wrong_type:uuid: want a string\n2:panic:string\n3:panic:runtime error: index out of range"
	if !strings.HasPrefix(got, want) {
		t.Errorf("dead letters\n%s\nwant\n%s", got, want)
	}
}

func TestLinesNamesADeadLetterTheSameEachTime(t *testing.T) {
	ids := map[schemas.Id]int{}
	for range 2 {
		var sink letters
		if err := producers.Lines(strings.NewReader("{\n[\n{\n"), "a", schemas.WitnessHook, &sink, nil); err != nil {
			t.Fatal(err)
		}
		for _, d := range sink.got {
			ids[d.RowId]++
		}
	}
	if len(ids) != 3 {
		t.Errorf("three bad lines read twice have %d ids, want 3", len(ids))
	}
}

func TestLinesReportsAFailingReader(t *testing.T) {
	broken := errors.New("disk")
	err := producers.Lines(io.MultiReader(strings.NewReader("{}\n{"), iotest.ErrReader(broken)), "a", schemas.WitnessHook, &letters{}, func(int64, []byte) error { return nil })
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func TestHomelessNamesNobody(t *testing.T) {
	t.Setenv("HOME", "/srv/people/anna")
	for path, want := range map[string]string{
		"/srv/people/anna/.claude/a": "~/.claude/a", "/srv/people/anna": "~", "/srv/people/anna2/a": "/srv/people/anna2/a",
		"/home/bob/a": "~/a", "/home/bob": "~", "/Users/bob/a": "~/a", `C:\Users\bob\a`: `~\a`, "/tmp/a": "/tmp/a", "a": "a", "": "",
	} {
		if got := producers.Homeless(path); got != want {
			t.Errorf("%q became %q, want %q", path, got, want)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("{}\n{\"a\":[1,2]}\n\n{"))
	f.Add([]byte("\x00\n\xff\n[[[[\n\"\\\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var sink letters
		n := 0
		if err := producers.Lines(bytes.NewReader(in), "f", schemas.WitnessHook, &sink, func(_ int64, raw []byte) error {
			n++
			if raw[0] != '{' || raw[len(raw)-1] != '}' {
				t.Errorf("handed on %q", raw)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		notBlank := 0
		for _, l := range bytes.Split(in, []byte("\n")) {
			if len(bytes.TrimSpace(l)) > 0 {
				notBlank++
			}
		}
		if n+len(sink.got) != notBlank {
			t.Errorf("%d lines became %d records and %d dead letters", notBlank, n, len(sink.got))
		}
	})
}

func BenchmarkLines(b *testing.B) {
	line := `{"type":"user","message":{"role":"user","content":[{"tool_use_id":"toolu_01","type":"tool_result","content":"` +
		strings.Repeat(`1\t// Prices are integers, in cents.\n`, 40) + `"}]},"uuid":"a","timestamp":"2026-11-22T13:38:54.504Z"}` + "\n"
	in := strings.Repeat(line, 1000)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if err := producers.Lines(strings.NewReader(in), "b", schemas.WitnessTranscript, &letters{}, func(int64, []byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
