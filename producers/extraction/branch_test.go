package extraction

import (
	"testing"

	"github.com/flightlog/flightlog/schemas"
)

func TestTicketsAreTakenFromBranchesOnlyWhereUnmistakable(t *testing.T) {
	for branch, want := range map[string]string{
		"feature/SHOP-12-round-discounts": "SHOP-12",
		"SHOP-12":                         "SHOP-12",
		"fix_AB1-7_x":                     "AB1-7",
		"anna/OPS-1/OPS-2":                "OPS-1",
		"fix/utf-8":                       "",
		"fix/UTF-8-names":                 "",
		"fix/SHA-256-SHOP-12":             "SHOP-12",
		"fix/SHA256-12":                   "",
		"CVE-2026-1234":                   "",
		"shop-12-round":                   "",
		"node-18":                         "",
		"123-fix":                         "",
		"fix/#123":                        "#123",
		"gh-123-fix":                      "#123",
		"issue/123":                       "#123",
		"fix/issues-45":                   "#45",
		"high-123":                        "",
		"SHOP-0":                          "",
		"SHOP-1234567":                    "",
		"A-1":                             "",
		"main":                            "",
		"":                                "",
	} {
		if got := Ticket(branch); got != want {
			t.Errorf("%s: got %q, want %q", branch, got, want)
		}
	}
}

func TestWorkKindIsThePrefixOfTheBranch(t *testing.T) {
	for branch, want := range map[string]schemas.WorkKind{
		"fix/rounding":           schemas.WorkKindBugfix,
		"hotfix/SHOP-12":         schemas.WorkKindBugfix,
		"Bugfix/x":               schemas.WorkKindBugfix,
		"fix-rounding":           schemas.WorkKindBugfix,
		"feat/cart":              schemas.WorkKindFeature,
		"anna/feature/cart":      schemas.WorkKindFeature,
		"claude/feat_cart":       schemas.WorkKindFeature,
		"docs/readme":            schemas.WorkKindDocs,
		"test/cart":              schemas.WorkKindTest,
		"migrate/node-22":        schemas.WorkKindMigration,
		"refactor/price":         schemas.WorkKindChore,
		"dependabot/npm/x":       schemas.WorkKindChore,
		"main":                   schemas.WorkKindUnknown,
		"test":                   schemas.WorkKindUnknown,
		"docs":                   schemas.WorkKindUnknown,
		"features":               schemas.WorkKindUnknown,
		"fixture/cart":           schemas.WorkKindUnknown,
		"SHOP-12-fix":            schemas.WorkKindUnknown,
		"":                       schemas.WorkKindUnknown,
		"////":                   schemas.WorkKindUnknown,
		"release/1.2":            schemas.WorkKindChore,
		"anna/prefix/fix-things": schemas.WorkKindBugfix,
	} {
		if got := WorkKind(branch); got != want {
			t.Errorf("%s: got %s, want %s", branch, got, want)
		}
	}
}
