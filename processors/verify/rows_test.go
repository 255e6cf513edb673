package verify

import (
	"strings"
	"testing"

	"github.com/flightlog/flightlog/schemas"
)

func TestRowsThatBreakTheRulesOfSignedRowsAreFound(t *testing.T) {
	type said struct {
		commit, version int64
		sign            int32
		tool            string
	}
	for _, c := range []struct {
		name string
		rows []said
		aged bool
		want string // part of what is told of the last row; "" = nothing of any
	}{
		{"a fact that changes twice", []said{{1, 1, 1, "a"}, {2, 2, -1, "a"}, {2, 2, 1, "b"}, {3, 3, -1, "b"}, {3, 3, 1, "c"}}, false, ""},
		{"a fact that is withdrawn and comes back", []said{{1, 1, 1, "a"}, {2, 2, -1, "a"}, {5, 3, 1, "a"}}, false, ""},
		{"a first version that has aged out", []said{{9, 4, -1, "a"}, {9, 4, 1, "b"}, {10, 5, -1, "b"}}, true, ""},
		{"a first version that is missing", []said{{1, 2, 1, "a"}}, false, "follows version 0"},
		{"a version that is missing", []said{{1, 1, 1, "a"}, {2, 3, -1, "a"}}, false, "follows version 1"},
		{"a version that comes twice", []said{{1, 1, 1, "a"}, {1, 1, 1, "a"}}, false, "said over version 1"},
		{"nothing that is taken back", []said{{1, 1, -1, "a"}}, false, "none stands"},
		{"taken back twice", []said{{1, 1, 1, "a"}, {2, 2, -1, "a"}, {3, 3, -1, "a"}}, false, "none stands"},
		{"another row taken back", []said{{1, 1, 1, "a"}, {2, 2, -1, "b"}}, false, "another row"},
		{"not taken back", []said{{1, 1, 1, "a"}, {2, 2, 1, "b"}}, false, "which stands"},
		{"two rows of a version in two commits", []said{{1, 1, 1, "a"}, {2, 2, -1, "a"}, {3, 2, 1, "b"}}, false, "another commit"},
		{"no sign", []said{{1, 1, 0, "a"}}, false, "sign 0"},
	} {
		f := facts{known: map[schemas.Id]standing{}, whole: !c.aged, generation: 1}
		told := ""
		for i, s := range c.rows {
			row := schemas.Enriched{FactKey: schemas.Id{7}, Generation: 1, Version: s.version, Sign: s.sign, ToolName: s.tool,
				EventId: schemas.Id{byte(s.commit)}, RowId: schemas.RowID(1, schemas.Id{7}, s.version, s.sign)}
			if told = f.check(s.commit, &row); told != "" && i+1 < len(c.rows) {
				t.Errorf("%s: row %d: %s", c.name, i, told)
			}
		}
		if (told == "") != (c.want == "") || !strings.Contains(told, c.want) {
			t.Errorf("%s: %q, want %q", c.name, told, c.want)
		}
	}
	f := facts{known: map[schemas.Id]standing{}, whole: true, generation: 1}
	for want, row := range map[string]schemas.Enriched{
		"generation 2": {Generation: 2, Version: 1, Sign: 1, RowId: schemas.RowID(2, schemas.Id{}, 1, 1)},
		"not its own":  {Generation: 1, Version: 1, Sign: 1},
	} {
		if told := f.check(1, &row); !strings.Contains(told, want) {
			t.Errorf("%q, want %q", told, want)
		}
	}
}
