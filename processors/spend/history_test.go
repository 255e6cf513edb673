package spend

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// A history is a map that forgets, whatever comes late.
func TestHistoryIsAMapThatForgets(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		var h history
		want := map[int64]int64{}
		for range 60 {
			switch at := 1 + random.Int64N(40); {
			case random.IntN(8) == 0:
				h.forget(at)
				for k := range want {
					if k < at {
						delete(want, k)
					}
				}
			default:
				record := slices.Concat(h.earlier, []byte("what follows in the state"))
				h.earlier = record[:len(h.earlier)]
				before := bytes.Clone(record)
				cost := 1 + random.Int64N(9)
				h.add(at, cost)
				want[at] += cost
				if !bytes.Equal(record, before) {
					t.Fatalf("seed %d: the state was written into", seed)
				}
			}
			last := int64(0)
			got := map[int64]int64{}
			for a := range h.each {
				if a.at <= last {
					t.Fatalf("seed %d: %d behind %d", seed, a.at, last)
				}
				last, got[a.at] = a.at, a.cost
			}
			for at := range int64(42) {
				if got[at] != want[at] || h.at(at) != want[at] {
					t.Fatalf("seed %d: %d at %d, want %d", seed, h.at(at), at, want[at])
				}
			}
		}
	}
}
