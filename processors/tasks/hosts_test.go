package tasks

import (
	"slices"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

func alive(t *testing.T, h *engine.Harness, host string) {
	t.Helper()
	f := schemas.TaskFact{Host: host, Task: schemas.Task{Org: "acme", User: "ada", Team: "shop", LastSeen: h.Now}}
	header := schemas.RowHeader{Processor: "sessions"}
	if err := h.Append(schemas.AppendRowFrame(nil, schemas.TaskFactFrameFingerprint, &header, [][]byte{f.AppendAvro(nil)})); err != nil {
		t.Fatal(err)
	}
}

// What becomes of a host day by day: it has sessions at three in the afternoon, not
// on days with a point, and on those with a line nobody of the organisation has. What
// was said of it stands under the day on which it was.
func TestHostsThatFallSilent(t *testing.T) {
	for name, c := range map[string]struct{ days, said string }{
		"every working day":        {"MTWTFssMTWTFssMTWTFss", "....................."},
		"silent from a Monday on":  {"MTWTFss...............", ".........o...........r"},
		"silent from a Wednesday":  {"MTWTFssMT............", "...........o........."},
		"back, and silent again":   {"MTWTFss..W......", ".........r..o..."}, // it had opened that morning
		"back on the weekend":      {"MTWTFssMTW....s", "............o.r"},
		"back for good":            {"MTWTFss..WTFss", ".........r...."},
		"four days, and one later": {"MTWT.......F........", "...................."},
		"nobody for a week":        {"MTWTFss-------MTWTFss", "....................."},
		"an outage of two days":    {"MTWTFssM--TFssMTWTFss", "....................."},
		"nobody, then others":      {"MTWTFss--..........", "...........o......."},
		"one day off":              {"MTWTFssMT.TFssMTW.F", "..................."},
		"four days of seven":       {"MTWT.......", "..........."},
		"now and then":             {"M.W.F..M.W.F..M.W.F..M", "......................"},
		"every third week":         {"MTWTFss.............MTWT", ".........o..........r..."},
		"on weekends only":         {".....ss.....ss.....ss.....", ".........................."},
		"a weekend is no silence":  {"MTWTF..MTWTF..MTWTF..M", "......................"},
	} {
		t.Run(name, func(t *testing.T) {
			monday := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC).UnixMicro()
			h := engine.NewHarness(NewProcessor(), monday)
			said := []byte{}
			for i := range c.days {
				seen := len(h.Rows(broker.Findings))
				for hour := range 24 {
					if hour == 15 && c.days[i] != '-' && workday(h.Now/dayLength) {
						alive(t, h, "desktop") // of somebody who works each day
					}
					if hour == 15 && c.days[i] != '.' && c.days[i] != '-' {
						alive(t, h, "laptop")
						alive(t, h, "laptop") // two partitions know of it
					}
					if err := h.Advance(time.Hour); err != nil {
						t.Fatal(err)
					}
				}
				sign := byte('.')
				for _, b := range h.Rows(broker.Findings)[seen:] {
					var f schemas.Finding
					if _, err := f.DecodeAvro(b); err != nil {
						t.Fatal(err)
					}
					if f.Sign > 0 {
						sign = f.State.String()[0]
					}
					if f.Kind != "missing_telemetry" || f.Subject != "laptop" || f.User != "ada" || f.Team != "shop" || f.Org != "acme" {
						t.Errorf("the finding is %s", f.AppendJSON(nil))
					}
				}
				said = append(said, sign)
				if i == len(c.days)/2 {
					if err := h.Restart(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if string(said) != c.said[:len(said)] {
				t.Errorf("said %s, want %s, of %s", said, c.said, c.days)
			}
		})
	}
}

func TestASilentHostIsSaidInWords(t *testing.T) {
	h := engine.NewHarness(NewProcessor(), time.Date(2026, 11, 2, 15, 0, 0, 0, time.UTC).UnixMicro())
	for range 5 {
		alive(t, h, "laptop")
		alive(t, h, "desktop")
		if err := h.Advance(24 * time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		if h.Now/dayLength%7 != 2 && h.Now/dayLength%7 != 3 { // Saturday, Sunday
			alive(t, h, "desktop")
		}
		if err := h.Advance(24 * time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	var f schemas.Finding
	rows := h.Rows(broker.Findings)
	if len(rows) != 1 {
		t.Fatalf("%d findings", len(rows))
	}
	if _, err := f.DecodeAvro(rows[0]); err != nil {
		t.Fatal(err)
	}
	if want := "laptop has had no session since Monday, 9 November, and had some on most working days before."; f.Sentence != want {
		t.Errorf("%q, want %q", f.Sentence, want)
	}
	if err := h.Advance(20 * 24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	if keys := h.Keys(); slices.ContainsFunc(keys, func(k string) bool { return k[0] == hostKind }) {
		t.Error("a host that is gone is remembered")
	}
}
