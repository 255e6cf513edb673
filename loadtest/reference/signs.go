package reference

import (
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Final collapses the signed rows of one generation, whole from the first on
// and in any order, to the +1 rows that stand, ordered by org and fact. It tells
// in words where they break the rules of DESIGN §4:
//
//   - rows with one row_id are the same row, and a row_id is
//     H(generation, fact_key, version, sign);
//   - versions of a fact ascend from 1 without a gap;
//   - a version begins with the row of the version before taken back, equal to it
//     in every column but row_id, sign, version and event_id; only the first
//     version, and the one after a withdrawal, take nothing back;
//   - SUM(sign) of a fact is 0 or 1.
func Final(rows []schemas.Enriched) ([]schemas.Enriched, []string) {
	var violations report
	byID := map[schemas.Id]*schemas.Enriched{}
	facts := map[factName][]*schemas.Enriched{}
	for i := range rows {
		r := &rows[i]
		if same, ok := byID[r.RowId]; ok {
			if nameOf(same) != nameOf(r) {
				violations.add("%s: its row %s is also one of %s", inWords(same), r.RowId, inWords(r))
				continue
			}
			for _, d := range columnsThatDiffer(same, r) {
				violations.add("%s: row %s is there twice, and %s", inWords(same), r.RowId, d)
			}
			continue
		}
		byID[r.RowId] = r
		facts[nameOf(r)] = append(facts[nameOf(r)], r)
		if r.RowId != schemas.RowID(r.Generation, r.FactKey, r.Version, r.Sign) {
			violations.add("%s: row_id %s does not name version %d, sign %d", inWords(r), r.RowId, r.Version, r.Sign)
		}
		if r.Generation != rows[0].Generation {
			violations.add("%s: generation %d, others have %d", inWords(r), r.Generation, rows[0].Generation)
		}
	}
	var final []schemas.Enriched
	for _, name := range inOrder(facts) {
		if last := standing(facts[name], &violations); last != nil {
			final = append(final, *last)
		}
	}
	return final, violations.words()
}

// standing is the +1 row of a fact's highest version, nil if that was withdrawn.
func standing(rows []*schemas.Enriched, violations *report) (stands *schemas.Enriched) {
	slices.SortStableFunc(rows, func(a, b *schemas.Enriched) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.Sign, b.Sign)) // what is taken back comes first
	})
	var version, sum int64
	for _, r := range rows {
		if r.Version != version && r.Version != version+1 {
			violations.add("%s: version %d comes after version %d", inWords(r), r.Version, version)
		}
		sum += int64(r.Sign)
		switch {
		case r.Sign == 1 && stands != nil:
			violations.add("%s: version %d says a row while that of version %d stands", inWords(r), r.Version, stands.Version)
		case r.Sign == -1 && stands == nil:
			violations.add("%s: version %d takes a row back where none stands", inWords(r), r.Version)
		case r.Sign == -1:
			said, taken := *stands, *r
			for _, row := range []*schemas.Enriched{&said, &taken} {
				row.RowId, row.Sign, row.Version, row.EventId = schemas.Id{}, 0, 0, schemas.Id{}
			}
			for _, d := range columnsThatDiffer(&said, &taken) {
				violations.add("%s: version %d takes another row back than version %d said: %s", inWords(r), r.Version, stands.Version, d)
			}
		case r.Sign != 1:
			violations.add("%s: sign is %d", inWords(r), r.Sign)
		}
		version = r.Version
		if stands = r; r.Sign != 1 {
			stands = nil
		}
	}
	if sum != 0 && sum != 1 {
		violations.add("%s: SUM(sign) is %d", inWords(rows[0]), sum)
	}
	return stands
}
