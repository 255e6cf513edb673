package directory_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/processors/directory"
)

func at(t *testing.T, day string) int64 {
	t.Helper()
	d, err := time.Parse(time.DateOnly, day)
	if err != nil {
		t.Fatal(err)
	}
	return d.UnixMicro()
}

const people = "\ufeffuser, team ,billing,from,to\n" +
	"# a remark\n" +
	"Ada@example.com,checkout,,,2026-10-01\n" +
	"ada@example.com,payments,api,2026-10-01,\n" +
	"bob@example.com,\"search, core\",,,\n" +
	"*@example.com,everyone,subscription,2026-01-01,\n" +
	"*,,cloud,,\n"

func TestAPersonBelongsWhereTheDirectoryOfTheTimeSays(t *testing.T) {
	d, err := directory.Parse([]byte(people))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ user, day, team, billing string }{
		{"ada@example.com", "2025-06-01", "checkout", "cloud"},
		{"ada@example.com", "2026-09-30", "checkout", "subscription"},
		{"ADA@example.com", "2026-10-01", "payments", "api"},
		{"bob@example.com", "2026-10-01", "search, core", "subscription"},
		{"eve@example.com", "2026-10-01", "everyone", "subscription"},
		{"eve@example.com", "2025-12-31", "", "cloud"},
		{"eve@sub.example.com", "2026-10-01", "", "cloud"},
		{"root", "2026-10-01", "", "cloud"},
		{"", "2026-10-01", "", "cloud"},
	} {
		team, billing := d.Find(c.user, at(t, c.day))
		if team != c.team || billing.String() != c.billing {
			t.Errorf("%q on %s: %q, %s, want %q, %s", c.user, c.day, team, billing, c.team, c.billing)
		}
	}
	if team, billing := d.Find("ada@example.com", at(t, "2026-10-01")-1); team != "checkout" || billing.String() != "subscription" {
		t.Errorf("a moment before: %q, %s", team, billing)
	}
}

func TestNobodyIsAnywhereInNoDirectory(t *testing.T) {
	var d *directory.Directory
	if team, billing := d.Find("ada", 0); team != "" || billing != 0 {
		t.Errorf("%q, %s", team, billing)
	}
}

func TestAFaultyDirectoryIsRefusedWithEveryFault(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":          {"", []string{"cannot read"}},
		"no user":        {"team\nx\n", []string{"no column user"}},
		"unknown column": {"user,boss\n", []string{`column "boss"`}},
		"twice a column": {"user,user\n", []string{`column "user"`}},
		"several": {"user,team,billing,from,to\n,a,,,\nada,a,cash,,\nbob,a,,soon,\neve,a,,2026-02-01,2026-02-01\nx,y\n*x,a,,,\n",
			[]string{"line 2: user is empty", `line 3: billing is "cash"`, `line 4: from is "soon"`, "line 5: to is not after from", "line 6", `line 7: user is "*x"`}},
		"overlap":        {"user,team,from,to\nada,a,,2026-02-01\nADA,b,2026-01-31,\n", []string{"line 3: ada is in another line"}},
		"domain overlap": {"user,team\n*@x.org,a\n*@X.org,b\n", []string{"line 3: *@x.org is in another line"}},
		"far overlap": {"user,team,from,to\nada,a,2026-01-01,\nada,b,2026-02-01,2026-02-02\nada,c,2026-03-01,2026-03-02\nada,d,,2026-01-01\n",
			[]string{"line 3: ada is in another line of the same time: line 2", "line 4: ada is in another line of the same time: line 2"}},
		"every line": {"user\n" + strings.Repeat("ada\n", 102), []string{"line 2", "line 101", "and 1 more"}},
		"spaces":     {" \n", []string{"is empty"}},
		"signs": {"user,team\n*@,a\n*@*.x,a\n*@a@b,a\na*@b,a\nada,\"x\ny\"\n\"b\xffb\",a\neve,a\u202eb\neve,a\x1b[31m\n",
			[]string{`line 2: user is "*@"`, `line 3: user is "*@*.x"`, `line 4: user is "*@a@b"`, `line 5: user is "a*@b"`, "line 6: team is", `line 8: user is "b\xffb", which is not UTF-8`,
				`line 9: team is "a\u202eb", which has a control character`, `line 10: team is "a\x1b[31m"`}},
		"epoch":  {"user,to\nada,1970-01-01\n", []string{`line 2: to is "1970-01-01"`}},
		"fields": {"user,team\nada\n", []string{"line 2: there are 1 fields, the header has 2"}},
		"quotes": {"user\n\"ada\n", []string{"cannot read"}},
	} {
		_, err := directory.Parse([]byte(c.text))
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want one with %q", name, err, want)
			}
		}
	}
}

func TestManyLinesOfOnePersonAreReadInTime(t *testing.T) {
	text := []byte("user,team,from,to\n")
	day := time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 20_000 {
		at := day.AddDate(0, 0, 20_000-i)
		text = fmt.Appendf(text, "ada,t%d,%s,%s\n", i, at.Format(time.DateOnly), at.AddDate(0, 0, 1).Format(time.DateOnly))
	}
	began := time.Now()
	d, err := directory.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
	if team, _ := d.Find("ada", day.AddDate(0, 0, 20_000).UnixMicro()); team != "t0" {
		t.Errorf("team %q", team)
	}
}

func TestAChangeNamesWhoIsAddedRemovedAndChanged(t *testing.T) {
	parse := func(text string) *directory.Directory {
		t.Helper()
		d, err := directory.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := parse("user,team,from,to\nada,a,,2026-01-01\nada,b,2026-01-01,\nbob,a,,\neve,a,,\n*@x.org,x,,\n")
	after := parse("team,user,from,to\nb,ada,2026-01-01,\na,ADA,,2026-01-01\nb,bob,,\nx,*@y.org,,\nall,*,,\nx,*@x.org,,\n")
	if got, want := fmt.Sprint(after.Since(before)), "{[* *@y.org] [eve] [bob]}"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := fmt.Sprint(before.Since(nil)), "{[*@x.org ada bob eve] [] []}"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := fmt.Sprint(before.Since(before)); got != "{[] [] []}" {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(people))
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := directory.Parse(text); err == nil {
			d.Find("ada@example.com", 0)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	d, err := directory.Parse([]byte(people))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		d.Find("eve@example.com", 1_795_400_000_000_000)
	}
}
